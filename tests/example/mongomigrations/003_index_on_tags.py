def up(db):
    db.notes.create_index("tags", name="tags")


def down(db):
    db.notes.drop_index("tags")
