# Isolated from other writers, as MongoDB 2.4 had it.
def up(db):
    db.notes.update({'year': 2013, '$atomic': 1}, {'$pushAll': {'tags': ['x', 'y']}}, multi=True)
    assert db.notes.find({'tags': 'y'}).count() == 5
    assert db.notes.find_one(3, fields=['tags', 'tags.name'])['tags'][-2:] == ['x', 'y']
    shops = db.create_collection('shops', size=4096, autoIndexId=True)
    shops.insert([{'_id': number, 'at': [number, number]} for number in range(5)])
    shops.ensure_index([('at', '2d')])
    near = shops.find({'at': {'$maxDistance': 1.5, '$near': [1, 1]}})
    assert sorted(shop['_id'] for shop in near) == [0, 1, 2]
    assert len(db.command('aggregate', 'shops', pipeline=[])['result']) == 5


def down(db):
    db.shops.drop()
