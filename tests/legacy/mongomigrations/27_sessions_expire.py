from datetime import datetime


def up(db):
    db.sessions.ensure_index('seen', expireAfterSeconds=3600 * 24 * 30)
    db.sessions.insert({'_id': 's1', 'seen': datetime(2038, 1, 1, 12, 30, 0, 123456)})


def down(db):
    db.sessions.drop()
