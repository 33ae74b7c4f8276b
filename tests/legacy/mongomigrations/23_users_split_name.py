# -*- coding: utf-8 -*-


def up(db):
    users = db.users
    for user in users.find({'name': {'$exists': True}}, ['name'], sort=[('_id', 1)]):
        first, last = user['name'].split(' ', 1)
        users.update({'_id': user['_id']}, {'$set': {'first': first, 'last': last}, '$unset': {'name': 1}})


def down(db):
    for user in db.users.find({'first': {'$exists': True}}):
        db.users.update({'_id': user['_id']}, {'$set': {'name': u'%(first)s %(last)s' % user}})
