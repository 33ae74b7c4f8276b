def up(db):
    db.orders.lines.remove({'order': 1}, multi=False)
    assert db.orders.lines.count() == 5
    result = db.orders.lines.remove({'order': 2})
    assert result['n'] == 2


def down(db):
    pass
