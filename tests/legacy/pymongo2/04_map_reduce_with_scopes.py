from bson.code import Code


def up(db):
    mapper = Code('function () { this.tags.forEach(function (tag) { emit(tag.charAt(0), 1); }); }', {})
    reducer = Code('function (key, values) { return Array.sum(values); }', {})
    result = db.notes.map_reduce(mapper, reducer, 'letters', query={'year': 2013})
    assert result.find_one('t')['value'] == 5
    assert [each['value'] for each in db.notes.inline_map_reduce(mapper, reducer)] == [5]
    assert db.notes.find({'$where': Code('this.year == 2013')}).count() == 5


def down(db):
    db.letters.drop()
