def up(db):
    db.notes.insert({'content': 'test'})
    pass


def down(db):
    db.notes.remove({'content': 'test'})
