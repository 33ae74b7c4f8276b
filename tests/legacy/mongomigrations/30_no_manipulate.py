from bson.son import SON


def up(db):
    document = {'content': 'without an id'}
    assert db.notes.insert(document, manipulate=False) is None
    assert '_id' not in document
    db.notes.save(SON([('_id', 'ordered'), ('z', 1), ('a', 2)]))
    db.notes.update({'_id': 'ordered'}, SON([('z', 3), ('b', 4), ('a', 5)]))


def down(db):
    db.notes.remove({'content': 'without an id'})
