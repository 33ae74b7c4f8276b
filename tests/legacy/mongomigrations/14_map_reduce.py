from bson.code import Code

MAP = Code("function () { emit(this.stock, this.price); }")
REDUCE = Code("function (stock, prices) { return Array.sum(prices); }")


def up(db):
    result = db.products.map_reduce(MAP, REDUCE, 'price_by_stock', query={'stock': {'$exists': True}})
    assert result.name == 'price_by_stock'
    assert result.count() == result.find().count()


def down(db):
    db.drop_collection('price_by_stock')
