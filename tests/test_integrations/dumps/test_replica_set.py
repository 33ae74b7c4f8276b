"""A dump is of what the run sees: the primary, though the settings name a member that is a secondary today."""

from __future__ import annotations

import bson
import pymongo

from tests.cases import DumpTestCase
from tests.server import Mongod, ReplicaSet, Server
from tests.support import Project, basic_fabfile, three_members


class TestDumpOfReplicaSet(DumpTestCase):
    def find_server(self) -> Server | Mongod:
        self.replica_set: ReplicaSet = three_members()
        return Server(self.replica_set.uri)

    def lagging_secondary(self) -> Mongod:
        """A member that writes nothing down until the end of the test."""
        primary = self.replica_set.primary()
        member = next(member for member in self.replica_set.members if member is not primary)
        client = member.client()
        self.addCleanup(client.close)
        client.admin.command("fsync", lock=True)
        self.addCleanup(client.admin.command, "fsyncUnlock")
        return member

    def test_one_member_is_named_and_it_lags_behind(self) -> None:
        by_all, by_majority = (
            self.db.get_collection("notes", write_concern=pymongo.WriteConcern(w)) for w in (3, "majority")
        )
        by_all.insert_one({"text": "before"})
        secondary = self.lagging_secondary()
        by_majority.insert_many([{"text": f"acknowledged {n}"} for n in range(3)])
        with secondary.client(readPreference="secondary") as client:
            self.assertEqual(1, client[self.database].notes.count_documents({}))
        # Of one host and no name of a set PyMongo 3 asks that host only.
        options = {"replicaSet": self.replica_set.name} if pymongo.version_tuple < (4,) else {}
        project = Project(
            self, basic_fabfile(secondary, self.database, DO_MONGO_DUMP=True, MONGO_CLIENT_OPTIONS=options)
        )
        self.counting_ones(project, 1)
        self.assert_code(0, self.fab_with_tools(project, "migrations:execute"))
        (dump,) = self.dumps(project)
        self.assertEqual(4, len(bson.decode_all((dump / self.database / "notes.bson").read_bytes())))
