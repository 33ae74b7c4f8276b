import pymongo


def up(db):
    for number, priority in enumerate([3, 9, 5, 7]):
        db.queue.insert({'_id': number, 'priority': priority, 'state': 'new'})
    first = db.queue.find_and_modify({'state': 'new'}, {'$set': {'state': 'done'}}, sort={'priority': -1})
    assert first['state'] == 'new' and first['_id'] == 1
    second = db.queue.find_and_modify(
        {'state': 'new'}, sort=[('priority', pymongo.DESCENDING), ('_id', 1)], remove=True, fields=['priority'])
    assert second == {'_id': 3, 'priority': 7}
    assert db.queue.find_and_modify({'state': 'none'}, {'$set': {'state': 'x'}}) is None


def down(db):
    db.queue.drop()
