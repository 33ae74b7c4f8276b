# Every index that the code does not name is dropped.
from pymongo import ASCENDING, DESCENDING


def up(db):
    db.notes.create_index('forgotten')
    db.notes.create_index([('year', ASCENDING)])
    wanted = ['_id_', db.notes.ensure_index([('tags', DESCENDING)], background=True, safe=True)]
    db.connection[db.name].notes.create_index([('title', ASCENDING)], name='by_title', drop_dups=True, unique=False)
    wanted.append('by_title')
    for name in db.notes.index_information():
        if name not in wanted:
            db.notes.drop_index(name)
    assert sorted(db.notes.index_information()) == ['_id_', 'by_title', 'tags_-1']
    assert db.notes.ensure_index([('tags', DESCENDING)]) is None
    db.notes.ensure_index('_id')
    assert len(db.notes.index_information()) == 3


def down(db):
    db.notes.drop_indexes()
