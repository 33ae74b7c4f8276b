def up(db):
    db.articles.insert([
        {'_id': 1, 'title': 'MongoDB migrations', 'body': 'with Fabric'},
        {'_id': 2, 'title': 'Fabric', 'body': 'deploys'},
    ])
    db.articles.ensure_index([('title', 'text'), ('body', 'text')], name='search', default_language='english')
    found = db.articles.find({'$text': {'$search': 'migrations'}})
    assert found.count() == 1
    db.articles.update({'_id': found[0]['_id']}, {'$set': {'found': True}})


def down(db):
    db.articles.drop()
