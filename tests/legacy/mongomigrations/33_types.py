import re
from datetime import datetime

from bson.code import Code
from bson.max_key import MaxKey
from bson.min_key import MinKey
from bson.objectid import ObjectId
from bson.timestamp import Timestamp


def up(db):
    db.types.save({
        '_id': ObjectId('52d5a1f0c0ffee0000000021'),
        'regex': re.compile('^a.*z$', re.I),
        'code': Code('function () { return x; }', {'x': 1}),
        'timestamp': Timestamp(1389732000, 1),
        'min': MinKey(),
        'max': MaxKey(),
        'int64': 2 ** 40,
        'float': 0.1,
        'none': None,
        'date': datetime(1969, 12, 31, 23, 59, 59, 999000),
        'nested': {'list': [{'a': [1, [2, [3]]]}]},
    })


def down(db):
    db.types.drop()
