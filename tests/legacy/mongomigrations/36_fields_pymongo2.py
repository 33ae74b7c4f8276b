def up(db):
    logins = [user['login'] for user in db.users.find(fields=['login'], sort=[('login', 1)])]
    ids = [user for user in db.users.find(spec={'login': 'alice'}, fields={'_id': 1})]
    newest = db.users.find_one({'login': 'bob'}, fields={'login': False, '_id': False}, sort=[('created', -1)])
    db.summary.insert({'_id': 'users', 'logins': logins, 'alice': ids[0]['_id'], 'keys': sorted(newest)}, safe=True)


def down(db):
    db.summary.remove('users', safe=True)
