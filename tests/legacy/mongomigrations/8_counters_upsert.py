def next_number(db, name):
    reply = db.counters.find_and_modify(
        {'_id': name}, {'$inc': {'seq': 1}}, upsert=True, new=True, full_response=True)
    return reply['value']['seq']


def up(db):
    assert next_number(db, 'invoices') == 1
    assert next_number(db, 'invoices') == 2


def down(db):
    db.counters.remove({'_id': 'invoices'})
