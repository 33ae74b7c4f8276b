# Notes of the years before are moved into a database of their own.
def up(db):
    db.notes.insert([{'_id': number, 'year': 2010 + number % 4, 'tags': ['t%d' % number]} for number in range(20)])
    archive = db.connection[db.name + '_archive']
    archive.notes.remove()
    for note in db.notes.find({'year': {'$lt': 2013}}):
        archive.notes.old.insert(note, safe=True)
        db.notes.remove({'_id': note['_id']}, safe=True)
    assert db.notes.count() == 5
    assert archive.notes.old.count() == 15
    assert db.notes.database.connection[db.name + '_archive'].notes.old.find_one(1)['tags'] == ['t1']
    assert db.name + '_archive' in db.connection.database_names()
    assert sorted(db.collection_names(include_system_collections=False)) in (['notes'], ['migrations', 'notes'])


def down(db):
    db.connection.drop_database(db.name + '_archive')
