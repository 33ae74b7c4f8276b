def up(db):
    db.comments.rename('remarks')
    db.remarks.ensure_index([('author.$id', 1)])


def down(db):
    db.remarks.rename('comments')
