# -*- coding: utf-8 -*-
from datetime import datetime

from bson.objectid import ObjectId

USERS = [
    {
        '_id': ObjectId('52d5a1f0c0ffee0000000001'),
        'login': u'alice',
        'email': u'Alice@Example.com',
        'created': datetime(2014, 1, 14, 20, 45),
    },
    {
        '_id': ObjectId('52d5a1f0c0ffee0000000002'),
        'login': u'bob',
        'email': u'bob@example.com',
        'created': datetime(2014, 1, 15),
    },
    {
        '_id': ObjectId('52d5a1f0c0ffee0000000003'),
        'login': u'carol',
        'name': u'Karolína Šťastná',
        'created': datetime(2014, 1, 16),
    },
]


def up(db):
    ids = db.users.insert(USERS)
    assert ids == [user['_id'] for user in USERS]


def down(db):
    db.users.remove({'_id': {'$in': [user['_id'] for user in USERS]}})
