"""The preflight of a rehearsal: each command of each migration in order, as the real data will be when it comes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Iterator, Mapping, Sequence

from ...terminal.wording import plural
from ..scratch.recorder import FIND_ONE
from . import conversions, indexes, losses, validators, writes
from .expected import Expected
from .findings import NOT_ASKED, Finding
from .loops import Loops

if TYPE_CHECKING:
    from ..scratch.comparing import Change
    from ..scratch.recorder import Sent
    from .questions import Questions
    from .writes import Scale

MAX_COMMANDS = 500
"""Of a migration, the different ones that are asked about: one that sends more writes them in a loop."""


@dataclass(frozen=True)
class Rehearsed:
    """What a rehearsal has seen of one migration.

    ``takes_back`` says whether its ``down()`` restores everything, or the file says itself that nothing does.
    """

    sent: Sequence[Sent]
    changes: Sequence[Change]
    takes_back: bool
    allowances: Mapping[str, str]


class Preflight:
    """Looks at migrations in the order of their run. ``sampled`` names the collections that the copy has in part."""

    def __init__(self, questions: Questions, scale: Scale) -> None:
        self._questions = questions
        self._scale = scale
        self._expected = Expected(questions.names(), scale.factors)

    def findings(self, rehearsed: Rehearsed) -> list[Finding]:
        found = list(dict.fromkeys(self._all(rehearsed)))
        unanswered = self._questions.unanswered
        found += [
            Finding(NOT_ASKED, name, f"no answer about {what}: {why}") for (name, what), why in unanswered.items()
        ]
        unanswered.clear()
        return [finding.with_allowances(rehearsed.allowances) for finding in found]

    def _all(self, rehearsed: Rehearsed) -> Iterator[Finding]:
        comparison = losses.Comparison.of(rehearsed.changes)
        loops = Loops(*self._known, self._scale.factors)
        walks: set[tuple[str, str, str]] = set()
        for number, sent in enumerate(rehearsed.sent):
            if number < MAX_COMMANDS:
                # The updates of one walk may differ in form, and are all about the same documents.
                walk = (sent.name, sent.collection, repr(sent.walk))
                found = [] if walk in walks else [*self._about(sent, loops)]
                walks |= set() if sent.walk is None else {walk}
                if not rehearsed.takes_back:
                    found += self._ask(sent, "lost values", losses.findings(sent, *self._known, comparison, loops))
                yield from (replace(finding, command=number) for finding in found)
            loops.note(sent)
            self._expected.note(sent)
        for collection, number in Counter(sent.collection for sent in rehearsed.sent[MAX_COMMANDS:]).items():
            text = f"no question about {plural(number, 'command')}: a migration may have {MAX_COMMANDS} different ones"
            yield Finding(NOT_ASKED, collection, text)

    def _about(self, sent: Sent, loops: Loops) -> Iterator[Finding]:
        if sent.name in ("update", "delete"):
            yield from self._ask(sent, "documents", writes.findings(sent, *self._known, self._scale, loops))
            if sent.collection in self._scale.factors:
                yield from self._ask(sent, "values", conversions.findings(sent, *self._known))
        elif sent.name in ("find", FIND_ONE):
            yield from self._ask(sent, "index", writes.findings_of_read(sent, *self._known, self._scale, loops))
        elif sent.name in ("createIndexes", "collMod"):
            whole = sent.collection not in self._scale.factors
            yield from self._ask(sent, "index", indexes.findings(sent, *self._known, is_whole=whole))
        if sent.name == "collMod":
            yield from self._ask(sent, "validator", validators.findings(sent, *self._known))

    @property
    def _known(self) -> tuple[Expected, Questions]:
        return self._expected, self._questions

    def _ask(self, sent: Sent, about: str, findings: Iterator[Finding]) -> Iterator[Finding]:
        with self._questions.noted(sent.collection, f"the {about} of {sent.verb}"):
            yield from findings
