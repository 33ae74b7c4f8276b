from pymongo.errors import DuplicateKeyError


def up(db):
    db.codes.insert({'_id': 'a'})
    try:
        db.codes.insert({'_id': 'a'})
    except DuplicateKeyError:
        db.codes.update({'_id': 'a'}, {'$set': {'twice': True}})
    try:
        db.codes.insert([{'_id': 'b'}, {'_id': 'a'}, {'_id': 'c'}])
    except DuplicateKeyError:
        pass
    try:
        db.codes.insert([{'_id': 'd'}, {'_id': 'a'}, {'_id': 'e'}], continue_on_error=True)
    except DuplicateKeyError:
        pass


def down(db):
    db.codes.remove()
