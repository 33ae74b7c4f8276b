def up(db):
    for user in db.users.find({'email': {'$exists': True}}):
        user['email'] = user['email'].lower()
        db.users.save(user)


def down(db):
    pass
