def up(db):
    result = db.users.update({}, {'$set': {'active': True}}, multi=True)
    assert result['n'] == 3 and result['updatedExisting']


def down(db):
    db.users.update({}, {'$unset': {'active': 1}}, multi=True)
