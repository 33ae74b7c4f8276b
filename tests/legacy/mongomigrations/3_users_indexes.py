import pymongo


def up(db):
    db.users.ensure_index('login', unique=True)
    db.users.ensure_index([('created', pymongo.DESCENDING), ('login', pymongo.ASCENDING)], background=True)
    db.users.create_index('email', sparse=True, name='by_email')


def down(db):
    db.users.drop_index('by_email')
    db.users.drop_index('login_1')
