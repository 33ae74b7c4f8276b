def up(db):
    db['click-stream'].insert({'_id': 1, 'page': '/'})
    db['click-stream']['2014'].insert({'_id': 1, 'page': '/2014'})
    db['click-stream'].archive['old'].insert({'_id': 1})
    for name in db.collection_names(include_system_collections=False):
        if name.startswith('click'):
            db[name].update({}, {'$set': {'name': name}})


def down(db):
    db['click-stream'].drop()
    db['click-stream']['2014'].drop()
