import uuid


def up(db):
    token = uuid.UUID('12345678-1234-5678-1234-567812345678')
    db.tokens.insert({'_id': token, 'kind': 'session'})
    db.tokens.insert({'_id': 'nested', 'tokens': [{'value': token}]})


def down(db):
    db.tokens.drop()
