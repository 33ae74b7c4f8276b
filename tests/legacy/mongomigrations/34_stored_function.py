def up(db):
    db.system_js.twice = 'function (x) { return 2 * x; }'
    db.system_js['thrice'] = 'function (x) { return 3 * x; }'
    db.system_js.forgotten = 'function () {}'
    del db.system_js.forgotten
    assert sorted(db.system_js.list()) == ['thrice', 'twice']


def down(db):
    del db.system_js.twice
    del db.system_js.thrice
