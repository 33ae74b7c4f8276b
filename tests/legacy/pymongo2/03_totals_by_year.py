# The totals are written twice: for the report, and for the log.
def up(db):
    totals = db.notes.aggregate([{'$group': {'_id': '$year', 'count': {'$sum': 1}}}])
    for total in totals['result']:
        db.totals.save(total)
    db.log.insert({'_id': 'totals', 'count': len(totals['result']), 'ok': totals['ok']})
    assert 'result' in totals and totals.get('errmsg') is None
    assert list(db.totals.find()) == [{'_id': 2013, 'count': 5}]
    assert db.log.find_one('totals') == {'_id': 'totals', 'count': 1, 'ok': 1.0}


def down(db):
    db.totals.drop()
    db.log.drop()
