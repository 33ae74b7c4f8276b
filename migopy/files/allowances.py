"""``ALLOW`` in a migration file: what a rehearsal may find there, each with the reason."""

from __future__ import annotations

from typing import Any, Mapping

from ..errors import BadMigration
from ..terminal.options import closest_word

OTHER_VALUES = "other values"
COLLSCAN = "COLLSCAN"
MANY_DOCUMENTS = "many documents"
DUPLICATES = "duplicates"
REFUSED_DOCUMENTS = "refused documents"
EXPIRING_DOCUMENTS = "expiring documents"
TOO_MANY_INDEXES = "too many indexes"
LOST_VALUES = "lost values"

EXAMPLES = {
    OTHER_VALUES: "random ids",
    COLLSCAN: "at night, 2 minutes",
    MANY_DOCUMENTS: "at night, 5 minutes",
    DUPLICATES: "the support team removes them before",
    REFUSED_DOCUMENTS: "the application fixes them when it saves them",
    EXPIRING_DOCUMENTS: "old sessions",
    TOO_MANY_INDEXES: "indexes are dropped before",
    LOST_VALUES: "nobody needs the old tags",
}
"""The keys of ``ALLOW``, each with a reason that a team might write."""


def example_of_allow(kind: str) -> str:
    """``ALLOW = {"other values": "random ids"}``"""
    return f'ALLOW = {{"{kind}": "{EXAMPLES[kind]}"}}'


def allowances_of(module: object) -> Mapping[str, str]:
    """What the file allows in ``ALLOW``, with the reason."""
    allowances = getattr(module, "ALLOW", None)
    return allowances if isinstance(allowances, Mapping) else {}  # a file of 2014 may have a name of its own


def require_known_allowances(allowances: Mapping[Any, Any], name: str) -> None:
    """Raises ``BadMigration`` if ``ALLOW`` has a key that means nothing, or a key without a reason."""
    for kind, reason in allowances.items():
        if kind not in EXAMPLES:
            meant = closest_word(str(kind), EXAMPLES)
            known = repr(meant) if meant else f"one of {', '.join(map(repr, EXAMPLES))}"
            raise BadMigration(
                f"ALLOW of {name} has the unknown key {kind!r}: write {known} or remove it. No migration was run.",
                migration=name,
            )
        if not (isinstance(reason, str) and reason):
            raise BadMigration(
                f"ALLOW of {name} gives no reason for {kind!r}: write one as text, such as"
                f' {{"{kind}": "{EXAMPLES[kind]}"}}. No migration was run.',
                migration=name,
            )
