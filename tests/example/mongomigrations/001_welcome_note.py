def up(db):
    db.notes.insert_one({"title": "Welcome", "tags": "first news"})


def down(db):
    db.notes.delete_one({"title": "Welcome"})
