"""Single calls, one a line, each on what the ones before it left in `db`: PyMongo 3.13's own answers are recorded."""

from __future__ import annotations

from typing import Any

import pymongo
from bson.code import Code
from bson.objectid import ObjectId
from bson.son import SON

from tests.legacy import as_json

MAP, REDUCE = Code("function () { emit(this.kind, 1); }"), Code("function (kind, ones) { return Array.sum(ones); }")
NAMES = {"pymongo": pymongo, "ObjectId": ObjectId, "SON": SON, "MAP": MAP, "REDUCE": REDUCE}

CALLS = """
db.a.insert({'_id': 1, 'kind': 'x'})
db.a.insert([{'_id': 2, 'kind': 'x'}, {'_id': 3, 'kind': 'y'}])
db.a.insert({'_id': number, 'kind': 'z'} for number in range(4, 8))
db.a.insert(({'_id': 8}, {'_id': 9}), manipulate=True, check_keys=True, continue_on_error=True)
db.a.insert({'kind': 'no id'}, manipulate=False)
db.a.insert([{'kind': 'no id'}, {'_id': 10}], manipulate=False)
db.a.insert({'_id': 11}, w=0)
db.a.insert({'_id': 12}, w=1, j=True, wtimeout=1000)
db.a.insert({'_id': 13}, fsync=True)
db.a.insert({'_id': 14}, j=True, w=0)
db.a.insert({'_id': 14}, j=True, fsync=True)
db.a.insert({'_id': 14}, nonsense=1)
db.a.insert({'_id': 1})
db.a.insert([{'_id': 20}, {'_id': 1}, {'_id': 21}])
db.a.insert([{'_id': 22}, {'_id': 1}, {'_id': 23}], continue_on_error=True)
db.a.insert({'a.b': 1})
db.a.insert({'a': {'$b': 1}})
db.a.insert({'a': [{'$b': 1}]})
db.a.insert({'_id': 15, 'a.b': 1}, check_keys=False)
db.a.insert([])
db.a.insert([1])
db.a.insert('text')
db.a.insert(None)
db.a.insert()
db.a.save({'_id': 30, 'kind': 'saved'})
db.a.save({'_id': 30, 'kind': 'again'})
db.a.save({'_id': 31}, w=0)
db.a.save({'a.b': 1})
db.a.save({'_id': 32, 'a.b': 1})
db.a.save({'_id': 33, '$b': 1})
db.a.save([])
db.a.save(5)
db.a.update({'_id': 1}, {'$set': {'n': 1}})
db.a.update({'_id': 1}, {'$set': {'n': 1}})
db.a.update({'_id': 'none'}, {'$set': {'n': 1}})
db.a.update({'_id': 40}, {'$set': {'n': 1}}, upsert=True)
db.a.update({'_id': 41}, {'n': 1}, True)
db.a.update({'_id': 41}, {'n': 2})
db.a.update({'_id': 41}, {})
db.a.update({'kind': 'x'}, {'$inc': {'n': 1}}, multi=True)
db.a.update({'kind': 'x'}, {'n': 1}, multi=True)
db.a.update({'kind': 'x'}, {}, multi=True)
db.a.update({'_id': 1}, {'$set': {'n': 1}, 'm': 2})
db.a.update({'_id': 1}, {'m': 2, '$set': {'n': 1}})
db.a.update({'_id': 1}, {'$set': {'n': 1}}, w=0)
db.a.update({'_id': 1}, {'$set': {'_id': 2}})
db.a.update({'_id': 1}, {'$set': {'n': 1}}, upsert=1)
db.a.update({'_id': 1}, [{'$set': {'n': 1}}])
db.a.update({'_id': 1}, 5)
db.a.update(1, {'$set': {'n': 1}})
db.a.update({'_id': 1})
db.a.update({'_id': 1}, {1: 2})
db.a.update({'kind': 'X'}, {'$set': {'cased': True}}, multi=True, collation={'locale': 'en', 'strength': 2})
db.a.remove({'kind': 'z'}, multi=False)
db.a.remove({'kind': 'z'})
db.a.remove(41)
db.a.remove('none')
db.a.remove({'kind': 'none'}, w=1)
db.a.remove({'_id': 1}, nonsense=1)
db.a.remove(None, nonsense=1)
db.a.find_and_modify({'_id': 1}, {'$inc': {'n': 1}})
db.a.find_and_modify({'_id': 1}, {'$inc': {'n': 1}}, new=True)
db.a.find_and_modify({'_id': 1}, {'$inc': {'n': 1}}, new=True, fields=['n'])
db.a.find_and_modify({'_id': 1}, {'$inc': {'n': 1}}, new=True, fields={'n': 1, '_id': 0})
db.a.find_and_modify({'_id': 1}, {'$inc': {'n': 1}}, fields=5)
db.a.find_and_modify({'_id': 1}, {'$inc': {'n': 1}}, fields=[5])
db.a.find_and_modify({'_id': 50}, {'$inc': {'n': 1}}, upsert=True)
db.a.find_and_modify({'_id': 51}, {'$inc': {'n': 1}}, True, new=True)
db.a.find_and_modify({'_id': 52}, {'n': 1}, upsert=True, full_response=True)
db.a.find_and_modify({'_id': 52}, remove=True, full_response=True)
db.a.find_and_modify({'_id': 52}, remove=True)
db.a.find_and_modify({}, {'$set': {'last': 1}}, sort=[('_id', -1)])
db.a.find_and_modify({}, {'$set': {'last': 1}}, sort={'_id': 1})
db.a.find_and_modify({}, {'$set': {'last': 1}}, sort=SON([('kind', 1), ('_id', -1)]))
db.a.find_and_modify({}, {'$set': {'last': 1}}, sort={'kind': 1, '_id': 1})
db.a.find_and_modify({}, {'$set': {'last': 1}}, sort='_id')
db.a.find_and_modify({}, {'$set': {'last': 1}}, sort=('_id', 1))
db.a.find_and_modify({'_id': 1})
db.a.find_and_modify({'_id': 1}, {'$set': {'n': 1}}, remove=True)
db.a.find_and_modify({'_id': 1}, {'$set': {'_id': 2}})
db.a.find_and_modify({'_id': 2}, {'_id': 2, 'whole': True})
db.a.ensure_index('kind')
db.a.ensure_index('kind')
db.a.ensure_index([('kind', pymongo.DESCENDING), ('n', 1)], unique=False, name='mine')
db.a.ensure_index('n', cache_for='long')
db.a.ensure_index({'n': 1, 'm': 1})
db.a.ensure_index(5)
db.a.ensure_index('kind', unique=True, name='unique_kind')
db.a.ensure_index('only_one', unique=True, sparse=True, drop_dups=True)
db.a.create_index('n', background=True)
db.a.count()
db.a.count({'kind': 'x'})
db.a.count({'_id': {'$gt': 5}}, limit=3, skip=2)
db.a.count({'kind': 'x'}, hint=[('kind', 1)])
db.a.count({'kind': 'x'}, hint='kind_1')
db.a.count({'$where': 'this._id == 1'})
db.a.count({'kind': 'x'}, query={})
db.a.count(5)
db.a.count({}, nonsense=1)
db.none.count()
db.a.find({'kind': 'x'}).count()
db.a.find().skip(3).limit(2).count()
db.a.find().skip(3).limit(2).count(True)
db.a.find()[2:6].count(with_limit_and_skip=True)
db.a.find({'kind': 'x'}).hint('kind_1').count()
db.a.find({'kind': 'x'}).max_time_ms(1000).comment('note').count()
db.a.find({'kind': 'X'}).collation({'locale': 'en', 'strength': 2}).count()
db.a.find().where('this._id == 1').count()
db.a.find().count(1)
db.a.find(nonsense=1)
db.a.find({}, 5)
db.a.find(5)
db.a.find_one(1)
db.a.find_one({'_id': 1}, ['n'])
db.a.map_reduce(MAP, REDUCE, 'results')
db.a.map_reduce(MAP, REDUCE, 'results', query={'_id': {'$lt': 4}}, full_response=True)['result']
db.a.map_reduce(MAP, REDUCE, SON([('replace', 'results'), ('db', db.name)]))
db.a.map_reduce(MAP, REDUCE, {'inline': 1})['results']
db.a.map_reduce(MAP, REDUCE, 5)
db.a.map_reduce(MAP, REDUCE)
db.a.inline_map_reduce(MAP, REDUCE, query={'_id': {'$lt': 4}}, sort={'_id': 1})
db.a.inline_map_reduce(MAP, REDUCE, full_response=True, limit=2)['results']
db.a.initialize_ordered_bulk_op().execute()
db.a.initialize_ordered_bulk_op().insert(5)
db.a.initialize_ordered_bulk_op().find()
db.a.initialize_ordered_bulk_op().find(5)
db.a.initialize_ordered_bulk_op().find({}).update({'n': 1})
db.a.initialize_ordered_bulk_op().find({}).update({})
db.a.initialize_ordered_bulk_op().find({}).replace_one({'$set': {'n': 1}})
db.a.initialize_unordered_bulk_op(bypass_document_validation=True).find({}).upsert().update_one(5)
db.collection_names(include_system_collections=False)
db.create_collection('made')
db.create_collection('made')
db.create_collection('capped', capped=True, size=4096, max=5)
db.command('count', 'a', query={'kind': 'x'})['n']
db.command(SON([('distinct', 'a'), ('key', 'kind')]))['values']
db.command('nonsense')
db.add_user('joe', 'secret')
db.add_user('joe', 'other', read_only=True)
db.add_user('joe', 'other', roles=['readWrite'])
db.add_user('joe', 'other', read_only=True, roles=['read'])
db.add_user('joe', '')
db.add_user('joe', 5)
db.add_user(5)
[role['role'] for role in db.command('usersInfo', 'joe')['users'][0]['roles']]
db.remove_user('joe')
db.remove_user('joe')
db.dereference(5)
db.a.drop_indexes()
db.a.remove()
db.a.count()
""".strip().splitlines()

SERVER_INTERNALS = {"electionId", "opTime", "$clusterTime", "operationTime", "lastHeartbeat"}


def outcomes(db: Any) -> dict[str, Any]:
    """What each call returned, or the name of the error that it raised."""
    return {f"{number}: {call}": outcome(db, call) for number, call in enumerate(CALLS)}


def outcome(db: Any, call: str) -> Any:
    try:
        result = eval(call, {**NAMES, "db": db})
    except Exception as error:
        return {"raises": type(error).__name__}
    if isinstance(result, pymongo.collection.Collection):
        return {"collection": result.name}
    if isinstance(result, dict):
        return {key: as_json(result[key]) for key in sorted(result) if key not in SERVER_INTERNALS}
    if isinstance(result, list) and ("map_reduce" in call or "names" in call):
        result.sort(key=repr)  # the server gives no order
    return as_json(result)
