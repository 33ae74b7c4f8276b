import pymongo

PLACES = [
    ('Brno', [16.6, 49.2]),
    ('Praha', [14.4, 50.1]),
    ('Ostrava', [18.3, 49.8]),
]


def up(db):
    for name, loc in PLACES:
        db.places.insert({'_id': name, 'loc': loc, 'point': {'type': 'Point', 'coordinates': loc}})
    db.places.ensure_index([('loc', pymongo.GEO2D)])
    db.places.ensure_index([('point', '2dsphere')])
    nearest = db.places.find_one({'loc': {'$near': [16, 49]}})
    db.places.update({'_id': nearest['_id']}, {'$set': {'home': True}})


def down(db):
    db.places.drop()
