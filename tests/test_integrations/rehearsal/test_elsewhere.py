"""Rehearsals with rights: on another server, for a user who may write nowhere else, and for one who may not at all."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote_plus

from bson import Code

from tests.cases import TeamTestCase
from tests.server import Mongod
from tests.support import Project, Result

PASSWORD = "p/ss:w@rd 17"
READ_ONLY = "read only 18"


class TestElsewhere(TeamTestCase):
    """The real database is on a server with users, where the team's may only read; the copy is on another one."""

    real: Mongod
    other: Mongod

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.real, cls.other = Mongod(auth=True), Mongod(auth=True)
        for mongod in (cls.real, cls.other):
            cls.addClassCleanup(mongod.close)
            mongod.start()

    def find_server(self) -> Mongod:
        return self.real

    def setUp(self) -> None:
        super().setUp()
        self.db.notes.insert_many([{"_id": n} for n in range(5)])
        self.db.command("collMod", "notes", validator={"n": {"$type": "int"}})
        self.db["system.js"].insert_one({"_id": "one", "value": Code("function() { return 1; }")})
        self.real.add_user(self.database, "reader", READ_ONLY, ["read"])
        roles: list[str | dict[str, str]] = [{"role": role, "db": self.database} for role in ("readWrite", "dbAdmin")]
        self.other.add_user("admin", self.database, PASSWORD, roles)
        self.there = self.other.client()
        self.addCleanup(self.there.close)
        self.addCleanup(self.there.drop_database, self.database)
        self.before = self.hashes()

    def hashes(self) -> Any:
        return self.db.command("dbHash")["collections"], self.client.list_database_names()

    def uri(self, server: Mongod, user: str, password: str, database: str) -> str:
        return f"mongodb://{user}:{quote_plus(password)}@{server.host}:{server.port}/?authSource={database}"

    def rehearsing(self, *bodies: str, password: str = PASSWORD, **attributes: Any) -> Project:
        elsewhere = {"REHEARSAL_URI": self.uri(self.other, self.database, password, "admin"), **attributes}
        team = self.project(MONGO_URI=self.uri(self.real, "reader", READ_ONLY, self.database), **elsewhere)
        for number, body in enumerate(bodies, start=1):
            team.migration(f"{number}_a.py", body, down=None)
        return team

    def rehearsed(self, team: Project, code: int, *options: str) -> Result:
        """Secrets are nowhere in the output, the real server is as it was."""
        result = team.fab("--hide=status", ",".join(["migrations:rehearse", *options]))
        self.assert_code(code, result)
        for secret in (PASSWORD, READ_ONLY):
            for spelling in (secret, quote_plus(secret), repr(secret)[1:-1]):
                self.assertNotIn(spelling, result.output)
        self.assertEqual(self.before, self.hashes())
        return result

    def test_on_another_server_by_a_user_who_may_write_nowhere_else(self) -> None:
        team = self.rehearsing("db.notes.update_many({}, {'$set': {'n': 1}})")
        result = self.rehearsed(team, 0, "json=yes", "keep=yes")
        address = f"{self.other.host}:{self.other.port}"
        self.assertIn(f"to {self.database} at {address}...", result.stderr)
        self.assertIn(f"The copy is kept in {self.database} at {address}", result.stderr)
        self.assertEqual(5, json.loads(result.stdout)["rehearsed"][0]["changes"][0]["changed"])
        self.assertEqual(5, self.there[self.database].notes.count_documents({"n": 1}))
        self.rehearsed(team, 0)
        self.assertNotIn(self.database, self.there.list_database_names())

    def test_the_real_database_of_the_same_name_is_out_of_reach_too(self) -> None:
        own = f"import pymongo; own = pymongo.MongoClient({self.real.uri!r})[{self.database!r}]"
        result = self.rehearsed(self.rehearsing(f"{own}; own.notes.drop()"), 1)
        self.assertIn(
            f"1_a.py (line 2) was stopped: drop would touch {self.database}, which is not the copy", result.stderr
        )

    def test_where_it_may_not_be(self) -> None:
        same = self.uri(self.real, "reader", READ_ONLY, self.database)
        here = f"{self.real.host}:{self.real.port}"
        for attributes, said in (
            ({"password": "wrong p/ss"}, r"refuses the user"),
            (
                {"REHEARSAL_DATABASE": "elsewhere"},
                r"The user may not find, insert, .* in elsewhere at .*: grant the role dbOwner",
            ),
            (
                {"REHEARSAL_URI": None},
                rf"The user may not .* in {self.database}_rehearsal at {here}: grant the role dbOwner",
            ),
            ({"REHEARSAL_URI": same}, rf"would run in {self.database} at {here}, which is the real database"),
        ):
            with self.subTest(said):
                result = self.rehearsed(self.rehearsing("db.notes.drop()", **attributes), 1)
                self.assertRegex(result.stderr, said)
                self.assertEqual(["admin", "config", "local"], sorted(self.there.list_database_names()))
