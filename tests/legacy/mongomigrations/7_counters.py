def up(db):
    db.counters.insert({'_id': 'orders', 'seq': 0})
    for number in range(1, 4):
        counter = db.counters.find_and_modify(
            query={'_id': 'orders'}, update={'$inc': {'seq': 1}}, new=True)
        assert counter['seq'] == number
        db.orders.insert({'_id': counter['seq'], 'total': number * 10})


def down(db):
    db.orders.drop()
    db.counters.remove({'_id': 'orders'})
