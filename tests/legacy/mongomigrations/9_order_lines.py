def up(db):
    """Lines get a collection of their own."""
    for order in db.orders.find().sort('_id', 1):
        db.orders.lines.insert(
            {'_id': '%d-%d' % (order['_id'], line), 'order': order['_id'], 'price': order['total'] / 2.0}
            for line in (1, 2))


def down(db):
    db.orders.lines.drop()
