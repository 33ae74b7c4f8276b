"""How often the commands of a loop will be sent for all documents, where the copy has only some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Mapping

from ..scratch.recorder import READS, WALK

if TYPE_CHECKING:
    from ..scratch.recorder import Sent
    from .expected import Expected
    from .questions import Questions


class Loops:
    """Knows what one migration has read: that is what it loops over.

    ``factors`` says how many documents of each sampled collection stand for one of the copy.
    """

    def __init__(self, expected: Expected, questions: Questions, factors: Mapping[str, float]) -> None:
        self._expected = expected
        self._questions = questions
        self._factors = factors
        self._sources: list[Sent] = []

    def note(self, sent: Sent) -> None:
        """Remember a command that reads documents."""
        if sent.name in (*READS, WALK):
            self._sources.append(sent)

    def factor(self, collection: str) -> float:
        return self._factors.get(self._expected.real_name(collection) or "", 1)

    def times(self, sent: Sent) -> int:
        """About how often a command will be sent: as often as in the copy, unless the loop is over a sample."""
        sampled = [source for source in self._sources if self.factor(source.collection) > 1]
        estimate = round(sent.times * max((self.factor(source.collection) for source in sampled), default=1))
        if estimate == sent.times or any(source.varies or "filter" not in source.body for source in sampled):
            return estimate
        most = sum(self._questions.count(*self._documents(source)).number for source in sampled)
        return max(sent.times, min(estimate, most))

    def _documents(self, source: Sent) -> tuple[str, Mapping[str, object]]:
        name = self._expected.real_name(source.collection) or ""
        return name, self._expected.not_deleted(source.collection, source.body["filter"])
