from bson.binary import BINARY_SUBTYPE, Binary

PNG = b'\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR'


def up(db):
    db.avatars.insert({'_id': 'alice', 'type': 'image/png', 'data': Binary(PNG)})
    db.avatars.insert({'_id': 'bob', 'type': 'image/png', 'data': Binary(PNG * 100, BINARY_SUBTYPE)})
    db.avatars.insert({'_id': 'carol', 'checksum': Binary(b'0123456789abcdef', 5)})


def down(db):
    db.avatars.drop()
