def up(db):
    db.measurements.insert({'_id': number, 'value': number % 7} for number in range(2500))
    db.measurements.ensure_index('value')
    for value in db.measurements.distinct('value'):
        count = db.measurements.find({'value': value}).count()
        db.measurements.totals.save({'_id': value, 'count': count})
    db.measurements.remove({'_id': {'$gte': 50}})


def down(db):
    db.measurements.drop()
