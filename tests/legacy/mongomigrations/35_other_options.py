from pymongo import ReadPreference


def up(db):
    users = db.get_collection('users', read_preference=ReadPreference.SECONDARY_PREFERRED)
    users.with_options(read_preference=ReadPreference.PRIMARY).update(
        {'login': 'bob'}, {'$push': {'roles': 'admin'}})
    users.find().collection.database.audit.insert({'_id': 'roles', 'users': users.find({'roles': 'admin'}).count()})


def down(db):
    db.audit.remove('roles')
