"""What explain says of the way to the documents, on one server and on the shards of a cluster."""

from __future__ import annotations

import unittest
from typing import Any

from migopy.rehearsal.preflight.questions import has_collscan

SCAN = {"stage": "COLLSCAN", "filter": {"n": {"$eq": 7}}, "direction": "forward"}
BY_INDEX = {"stage": "FETCH", "inputStage": {"stage": "IXSCAN", "keyPattern": {"n": 1}, "indexName": "n_1"}}


def of_cluster(stage: str, *winning: Any) -> dict[str, Any]:
    """What a mongos answers, with the plan of each shard."""
    shards = [
        {
            "shardName": f"shard{number}",
            "connectionString": f"shard{number}/localhost:{27018 + number}",
            "serverInfo": {"host": "localhost", "port": 27018 + number},
            "plannerVersion": 1,
            "namespace": "blog.users",
            "indexFilterSet": False,
            "parsedQuery": {"stage": {"$eq": "COLLSCAN"}},
            "winningPlan": {"stage": "SHARDING_FILTER", "inputStage": plan},
            "rejectedPlans": [SCAN],
        }
        for number, plan in enumerate(winning)
    ]
    return {"mongosPlannerVersion": 1, "winningPlan": {"stage": stage, "shards": shards}}


class TestPlans(unittest.TestCase):
    def test_one_server(self) -> None:
        self.assertTrue(has_collscan({"winningPlan": SCAN, "rejectedPlans": []}))
        self.assertFalse(has_collscan({"winningPlan": BY_INDEX, "rejectedPlans": [SCAN]}))
        self.assertTrue(has_collscan({"winningPlan": {"stage": "OR", "inputStages": [BY_INDEX["inputStage"], SCAN]}}))

    def test_the_newer_engine(self) -> None:
        plan = {
            "queryPlan": {"stage": "PROJECTION_SIMPLE", "inputStage": SCAN},
            "slotBasedPlan": {"stages": "[1] scan"},
        }
        self.assertTrue(has_collscan({"winningPlan": plan}))
        self.assertFalse(has_collscan({"winningPlan": {**plan, "queryPlan": BY_INDEX}}))

    def test_shards(self) -> None:
        self.assertTrue(has_collscan(of_cluster("SHARD_MERGE", BY_INDEX, SCAN)))
        self.assertTrue(has_collscan(of_cluster("SINGLE_SHARD", {"queryPlan": SCAN, "slotBasedPlan": {"stages": ""}})))
        self.assertFalse(has_collscan(of_cluster("SHARD_MERGE", BY_INDEX, BY_INDEX)))
