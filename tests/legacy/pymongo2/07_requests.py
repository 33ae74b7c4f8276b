# One socket for all, and back to the pool.
def up(db):
    connection = db.connection
    with connection.start_request():
        for number in range(5):
            db.counters.insert({'_id': number})
        assert connection.in_request()
    connection.end_request()
    connection.disconnect()
    assert db.counters.find().count() == 5
    assert connection.alive()
    assert connection.max_bson_size == 16 * 1024 * 1024
    assert connection.host and connection.port and connection.document_class is dict


def down(db):
    db.counters.drop()
