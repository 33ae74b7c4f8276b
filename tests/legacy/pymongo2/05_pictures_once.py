# The same picture is stored once.
import hashlib

import gridfs

PICTURES = {'a.png': b'\x89PNG a', 'b.png': b'\x89PNG b', 'copy of a.png': b'\x89PNG a'}


def up(db):
    fs = gridfs.GridFS(db, collection='pictures')
    for name in sorted(PICTURES):
        if not fs.exists(md5=hashlib.md5(PICTURES[name]).hexdigest()):
            fs.put(PICTURES[name], filename=name)
    assert sorted(fs.list()) == ['a.png', 'b.png']
    assert db.pictures.files.find().count() == 2


def down(db):
    db.pictures.files.drop()
    db.pictures.chunks.drop()
