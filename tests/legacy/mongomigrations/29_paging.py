def up(db):
    page = db.log.find({'_id': {'$gte': 60}}).sort('_id', -1).skip(80).limit(20)
    assert page.count() == 90
    assert page.count(with_limit_and_skip=True) == 10
    assert page.count(True) == page.clone().count(True)
    db.pages.save({'_id': 'log', 'first': page[0]['_id'], 'size': len(list(page.clone()))})


def down(db):
    db.pages.remove('log')
