"""Which commands a rehearsal records."""

from __future__ import annotations

import unittest
from typing import Any

from pymongo.monitoring import CommandStartedEvent

from migopy.rehearsal.scratch.recorder import Recorder


class TestRecorder(unittest.TestCase):
    def sent(self, **command: Any) -> list[tuple[str, str]]:
        recorder = Recorder()
        recorder.started(CommandStartedEvent(command, "blog", 1, ("localhost", 27017), 1))
        return [(sent.name, sent.collection) for sent in recorder.sent]

    def test_what_looks_at_the_server_and_not_at_documents_is_left_out(self) -> None:
        self.assertEqual([], self.sent(aggregate=1, pipeline=[{"$currentOp": {}}]))
        self.assertEqual([("aggregate", "notes")], self.sent(aggregate="notes", pipeline=[{"$match": {}}]))
