def up(db):
    db.summary.save({'_id': 'safe'}, safe=True)
    db.summary.update({'_id': 'safe'}, {'$set': {'updated': True}}, upsert=False, multi=True, safe=True)
    for document in db.summary.find(timeout=False):
        db.summary.copies.insert({'_id': document['_id']}, manipulate=True, safe=True)


def down(db):
    db.summary.remove({'_id': 'safe'}, safe=True)
