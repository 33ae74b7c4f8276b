def up(db):
    bulk = db.products.initialize_ordered_bulk_op()
    for number in range(10):
        bulk.insert({'_id': number, 'price': number * 100, 'stock': number % 3})
    bulk.find({'stock': 0}).update({'$set': {'sold_out': True}})
    bulk.find({'_id': 5}).replace_one({'price': 555, 'stock': 9})
    bulk.find({'_id': 11}).upsert().update_one({'$set': {'price': 1100}})
    bulk.find({'price': {'$gt': 700}}).remove_one()
    result = bulk.execute()
    assert result['nInserted'] == 10 and result['nRemoved'] == 1 and result['nUpserted'] == 1


def down(db):
    db.products.drop()
