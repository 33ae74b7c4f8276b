from bson.code import Code
from bson.son import SON

MAP = "function () { emit(this.status, 1); }"
REDUCE = "function (status, ones) { return Array.sum(ones); }"


def up(db):
    for counted in db.orders.inline_map_reduce(Code(MAP), Code(REDUCE)):
        db.reports.orders.save(counted)
    db.orders.map_reduce(Code(MAP), Code(REDUCE), out=SON([('merge', 'reports.orders_merged')]))
    db.orders.map_reduce(Code(MAP), Code(REDUCE), out={'reduce': 'reports.orders_merged'})


def down(db):
    db.reports.orders.drop()
    db.reports.orders_merged.drop()
