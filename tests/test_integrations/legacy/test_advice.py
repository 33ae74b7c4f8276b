"""What a person reads whose file of 2014 uses names that PyMongo 4 has not, and no database of ours is in between."""

from __future__ import annotations

import unittest

import pymongo
import pymongo.collection

from migopy.legacy.advice import NAMES, advice
from tests.support import MongoTestCase

IS_PYMONGO_3 = pymongo.version_tuple[0] == 3

IMPORTS = {
    "from pymongo import Connection": "pymongo.Connection: write from pymongo import MongoClient.",
    "from pymongo import ASCENDING, Connection": "pymongo.Connection: write from pymongo import MongoClient.",
    "from pymongo import ReplicaSetConnection": "pymongo.ReplicaSetConnection: write from pymongo import MongoClient.",
    "from pymongo.connection import Connection": "pymongo.connection: write from pymongo import MongoClient.",
    "import pymongo.connection": "pymongo.connection: write from pymongo import MongoClient.",
    "import pymongo\npymongo.Connection()": "pymongo.Connection: write from pymongo import MongoClient.",
    "from pymongo.objectid import ObjectId": "pymongo.objectid: write from bson.objectid import ....",
    "from pymongo.son import SON": "pymongo.son: write from bson.son import ....",
    "from pymongo.code import Code": "pymongo.code: write from bson.code import ....",
    "from pymongo.dbref import DBRef": "pymongo.dbref: write from bson.dbref import ....",
    "from pymongo import json_util": "pymongo.json_util: write from bson.json_util import ....",
    "from pymongo.master_slave_connection import MasterSlaveConnection": (
        "pymongo.master_slave_connection: write from pymongo import MongoClient."
    ),
}


class TestNames(unittest.TestCase):
    def advice_for(self, source: str) -> str:
        try:
            exec(source, {})
        except Exception as error:
            return advice(error)
        raise AssertionError(f"{source} can be run")

    def test_imports_of_pymongo_2(self) -> None:
        for source, expected in IMPORTS.items():
            with self.subTest(source):
                self.assertEqual(f"PyMongo 4 has no {expected}", self.advice_for(source))

    def test_a_regular_expression_that_was_read(self) -> None:
        self.assertEqual(
            "PyMongo 2 compiled what it read, PyMongo 3 and 4 do not: write .try_compile().search.",
            self.advice_for("from bson.regex import Regex\nRegex('a').search('a')"),
        )
        exec("from bson.regex import Regex\nRegex('a').try_compile().search('a').end()", {})

    def test_names_that_are_nobodys(self) -> None:
        for source in (
            "import nonsense",
            "from nonsense.more import one",
            "from pymongo import nonsense",
            "import pymongo\npymongo.nonsense",
            "raise ValueError('5')",
            "None.save()",
            "raise KeyError",
        ):
            self.assertEqual("", self.advice_for(source))

    def test_what_it_says_to_import_is_there(self) -> None:
        for today in {today for today in NAMES.values() if today.startswith(("from ", "import "))}:
            exec(today.replace("import ...", "import __name__"), {})


class TestInFab(MongoTestCase):
    def test_an_import_of_pymongo_2_is_explained_before_anything_runs(self) -> None:
        project = self.project()
        project.migration("1_a.py", up="db.a.insert({'_id': 1})")
        project.write("mongomigrations/2_b.py", "from pymongo import Connection\n\n\ndef up(db):\n    pass\n")
        result = project.fab("migrations:execute")
        self.assertEqual(1, result.code)
        self.assertRegex(result.stderr, r"2_b.py cannot be imported \(line 1\): ImportError: cannot import name .*")
        self.assertIn(
            " No migration was run. PyMongo 4 has no pymongo.Connection: write from pymongo import MongoClient.",
            " ".join(result.stderr.split()),
        )
        self.assertEqual([], list(self.db.a.find()) + list(self.db.migrations.find()))

    def test_a_name_of_pymongo_2_in_up_is_explained(self) -> None:
        project = self.project()
        project.migration("1_a.py", up="import pymongo\npymongo.Connection()")
        result = project.fab("migrations:execute")
        self.assertEqual(1, result.code)
        self.assertIn("PyMongo 4 has no pymongo.Connection: write from pymongo import MongoClient.", result.stderr)

    def test_a_collection_that_was_not_made_from_db_says_where_to_take_it(self) -> None:
        ways = {
            "1_class.py": "from pymongo.collection import Collection\nCollection(db, 'a').save({'_id': 1})",
            "2_subclass.py": (
                "from pymongo.collection import Collection\n"
                "class Users(Collection):\n    pass\n"
                "Users(db, 'a', create=False).save({'_id': 1})"
            ),
            "3_client.py": f"import pymongo\npymongo.MongoClient({self.server.uri!r})['{self.database}'].a.save({{}})",
        }
        if not IS_PYMONGO_3:  # it has save itself
            project = self.project()
            for name, up in ways.items():
                project.migration(name, up=up)
                result = project.fab(f"migrations:execute,{name}", env={"PYTHONWARNINGS": "ignore"})
                self.assertEqual(1, result.code)
                self.assertIn("PyMongo 4 has no save: take the collection from db, which understands it", result.stderr)
            self.assertEqual([], list(self.db.a.find()))

    def test_a_user_for_a_server_without_users(self) -> None:
        project = self.project(MONGO_USER="joe", MONGO_USER_PASS="secret")
        project.migration("1_a.py")
        result = project.fab("migrations:execute")
        self.assertEqual(1, result.code)
        self.assertIn("If MongoDB has no users, remove these settings: migopy 1.0 did not use them.", result.stderr)
        self.assertNotIn("secret", result.output)

    def test_a_script_that_walks_all_collections_finds_what_there_was_in_2014(self) -> None:
        project = self.project()
        project.migration("1_a.py", up="db.a.insert({'_id': 1})")
        project.fab("migrations:execute")
        walk = (
            "for name in db.collection_names(include_system_collections=False):\n    db[name].insert({'_id': 'seen'})"
        )
        project.migration("2_b.py", up=walk)
        self.assertEqual(0, project.fab("migrations:execute").code)
        seen = [name for name in self.db.list_collection_names() if self.db[name].find_one({"_id": "seen"})]
        self.assertEqual(["a", "migrations"], sorted(seen))

    def test_without_legacy_pymongo_nothing_of_it_is_there(self) -> None:
        project = self.project(LEGACY_PYMONGO=False)
        project.migration("1_a.py", up="print('connection is', type(db.connection).__name__, type(db.client).__name__)")
        self.assertIn("connection is Collection MongoClient", project.fab("migrations:execute").stdout)
