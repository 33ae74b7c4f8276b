from pymongo.errors import BulkWriteError


def up(db):
    bulk = db.products.initialize_unordered_bulk_op()
    bulk.find({'sold_out': True}).update({'$set': {'hidden': True}})
    bulk.find({'_id': {'$in': [1, 2]}}).upsert().update({'$inc': {'price': 1}})
    bulk.find({'_id': 'gift'}).upsert().replace_one({'price': 50})
    bulk.find({'_id': 3}).remove()
    bulk.insert({'_id': 4})
    bulk.insert({'_id': 'box'})
    try:
        bulk.execute({'w': 1})
    except BulkWriteError as error:
        assert [failed['code'] for failed in error.details['writeErrors']] == [11000]


def down(db):
    pass
