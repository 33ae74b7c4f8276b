# How one asked for errors before 2013.
import uuid

VALUE = uuid.UUID('12345678-1234-5678-1234-567812345678')


def up(db):
    notes = db.notes
    notes.write_concern = {'w': 0}
    assert notes.update({'_id': 3}, {'$set': {'first': 1}}) is None
    assert notes.remove({'_id': 'none'}) is None
    notes.write_concern = {'w': 1}
    reply = notes.update({'_id': 3}, {'$set': {'second': 1}})
    assert reply['err'] is None and reply['n'] == 1 and reply['updatedExisting']
    assert reply.get('upserted') is None
    db.safe = True
    assert db.safe
    tokens = db.tokens
    tokens.uuid_subtype = 4
    tokens.insert({'_id': 'token', 'value': VALUE})
    assert tokens.find_one({'value': VALUE})['_id'] == 'token'
    tokens.uuid_subtype = 3
    assert tokens.find_one({'value': VALUE}) is None
    tokens.set_lasterror_options(w=1)
    assert tokens.get_lasterror_options() == {'w': 1}


def down(db):
    db.tokens.drop()
