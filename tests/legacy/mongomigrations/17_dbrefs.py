from bson.dbref import DBRef


def up(db):
    alice = db.users.find_one({'login': 'alice'})
    db.comments.insert({'_id': 1, 'author': DBRef('users', alice['_id']), 'text': 'First!'})
    comment = db.comments.find_one(1)
    assert db.dereference(comment['author'])['login'] == 'alice'
    db.comments.update({'_id': 1}, {'$set': {'also': [DBRef('orders', 1), DBRef('orders', 2)]}})


def down(db):
    db.comments.remove({'_id': 1})
