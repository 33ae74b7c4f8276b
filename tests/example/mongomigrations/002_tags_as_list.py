def up(db):
    for note in db.notes.find({"tags": {"$type": "string"}}):
        db.notes.update_one({"_id": note["_id"]}, {"$set": {"tags": note["tags"].split()}})


def down(db):
    for note in db.notes.find({"tags": {"$type": "array"}}):
        db.notes.update_one({"_id": note["_id"]}, {"$set": {"tags": " ".join(note["tags"])}})
