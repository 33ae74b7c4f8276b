TAGS = ['python', 'mongo', 'fabric', 'python']


def up(db):
    for tag in TAGS:
        db.tags.update({'_id': tag}, {'$inc': {'count': 1}}, upsert=True)
    result = db.tags.update({'_id': 'new'}, {'count': 0}, True)
    assert result['upserted'] == 'new' and not result['updatedExisting']


def down(db):
    db.tags.remove()
