def up(db):
    db.orders.update({'_id': 1}, {'$set': {'status': 'paid'}})
    db.orders.update({'_id': {'$gt': 1}}, {'$set': {'status': 'open'}}, multi=True)
    db.orders.update({'_id': 3}, {'_id': 3, 'total': 33, 'status': 'replaced'})


def down(db):
    db.orders.update({}, {'$unset': {'status': 1}}, False, False, multi=True)
