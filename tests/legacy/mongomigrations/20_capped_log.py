from pymongo.errors import CollectionInvalid


def up(db):
    if 'log' not in db.collection_names():
        log = db.create_collection('log', capped=True, size=1048576, max=100)
        log.insert([{'_id': number, 'line': 'line %d' % number} for number in range(150)])
    try:
        db.create_collection('log')
    except CollectionInvalid:
        pass


def down(db):
    db.drop_collection('log')
