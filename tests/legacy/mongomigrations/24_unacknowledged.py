def up(db):
    for number in range(5):
        db.hits.insert({'_id': number, 'count': 0}, w=0)
    db.hits.update({}, {'$inc': {'count': 1}}, multi=True, w=0)
    db.hits.insert({'_id': 'last'}, w=1, j=True)
    db.hits.remove({'_id': 4}, w=0)
    db.hits.update({'_id': 'last'}, {'$set': {'done': True}}, wtimeout=1000)


def down(db):
    db.hits.remove(w=0)
