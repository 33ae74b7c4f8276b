"""Making texts safe to show and to store: masked, escaped and cut to a limited length."""

from __future__ import annotations

import json
import re
import textwrap
from typing import Any, Iterator, Mapping
from urllib.parse import quote, quote_plus, unquote

MAX_LENGTH = 4_000
"""Characters of a text that is shown or stored. A document of MongoDB holds at most 16 MB."""

MAX_MESSAGE_LENGTH = 1_000
"""Characters of a message of MongoDB, which may quote a whole document."""

MAX_VALUE_LENGTH = 100
"""Characters of a value of a document."""

MAX_ERROR_LENGTH = 200
"""Characters of an error in a sentence about it. The traceback, or the history of the migration, shows all of it."""

MAX_EXAMPLES = 5
"""Broken rules, or duplicates, that a text names."""

MASK = "***"

SHORT_SECRET = 6
"""Characters. A secret with fewer is masked only where it is a whole word, because many words may contain it."""

URI_PASSWORD = r"(?i)(\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)\S+@"
"""The password in the connection string of any server, and what stands before it."""

_secrets: set[str] = set()


def add_secrets(*secrets: object) -> None:
    """Have ``mask()`` hide these values, also where they are quoted."""
    for secret in secrets:
        if secret is not None and str(secret):
            _secrets.update(_spellings(str(secret)))


def _spellings(secret: str) -> Iterator[str]:
    for text in (secret, unquote(secret)):
        yield from (text, quote(text, safe=""), quote_plus(text), repr(text)[1:-1], json.dumps(text)[1:-1])


def mask(text: str) -> str:
    """The text with ``***`` in place of known secrets and of passwords in connection strings."""
    if "://" in text:
        text = re.sub(URI_PASSWORD, rf"\g<1>{MASK}@", text)
    for secret in sorted(_secrets, key=len, reverse=True):
        if len(secret) < SHORT_SECRET:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", MASK, text)
        else:
            text = text.replace(secret, MASK)
    return text


def escape(text: str, keep: str = "") -> str:
    """The text with unprintable characters as Python writes them, such as ``\\x1b``, except those in ``keep``."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in keep else character.encode("unicode_escape").decode()
        for character in text
    )


def one_line(text: object) -> str:
    """The text on one line, masked, escaped and cut."""
    line = escape(" ".join(mask(safe_str(text))[: 2 * MAX_LENGTH].split()))
    return line if len(line) <= MAX_LENGTH else line[: MAX_LENGTH - 1] + "…"


def shorten(text: str, width: int) -> str:
    """Cut the middle out of a text that has more characters than ``width``."""
    if len(text) <= width:
        return text
    end = (width - 1) // 2  # people know a migration by its number and its last words
    return f"{text[: width - 1 - end]}…{text[-end:]}"


def wrap(text: str, width: int) -> str:
    """The text with lines of at most ``width`` characters, without a break in a word or in a command of fab."""
    wrapper = textwrap.TextWrapper(width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    # Who copies a command copies our line breaks with it, unlike those of the terminal.
    lines = text.replace("fab ", "fab\xa0").split("\n")
    return "\n".join(line if len(line) <= width else wrapper.fill(line) for line in lines).replace("\xa0", " ")


def safe_str(thing: object) -> str:
    """``str()`` of any object. Raises nothing."""
    try:
        return str(thing)
    except Exception as error:
        return f"(str() of it raised {type(error).__name__})"


def summary(error: BaseException) -> str:
    """Type and text of an error on one line, without the full stop at the end."""
    text = one_line(reason(error)).rstrip(".")
    name = one_line(type(error).__name__)
    return f"{name}: {text}" if text else name


APPENDED_BY_PYMONGO = re.compile(r", full error:| \(configured timeouts:|, Timeout: [\d.]+s, Topology Description:")
"""The server's whole reply, time limits, and the state of all servers."""


INDEX_BUILD = re.compile(r"^Index build failed: [\w-]+: Collection \S+ \( [\w-]+ \) :: caused by :: ")
"""The ids of an index that could not be built."""


def without_reply(text: str) -> str:
    """The text of an error without what PyMongo appends, and MongoDB prepends, for its developers."""
    return INDEX_BUILD.sub("", APPENDED_BY_PYMONGO.split(text)[0])


# What MongoDB answers about a write that it refuses. The errors of PyMongo have it as ``details``.


def reason(error: BaseException) -> str:
    """The text of an error, and which document or value MongoDB has refused and why."""
    try:
        details = getattr(error, "details", None)
        found = _refusal(details) if isinstance(details, Mapping) else ""
    except Exception:  # the details of an error that is not PyMongo's may be anything
        found = ""
    return found or without_reply(safe_str(error))


def _refusal(reply: Mapping[str, Any]) -> str:
    """Why the server has refused a command; empty if its message says it all."""
    failures = reply.get("writeErrors")
    if failures:
        return f"{write_refusal(failures[0])} ({', '.join(_facts(reply, failures))})"
    if "violations" in reply:
        ids = ["_id " + " and ".join(_value(id) for id in found["ids"][:2]) for found in reply["violations"]]
        return f"{_message(reply)} (the same value in {_examples(ids)})"
    if "errInfo" in reply:
        return f"{write_refusal(reply)} (_id {_value(reply['errInfo']['failingDocumentId'])})"
    return ""


def _facts(reply: Mapping[str, Any], failures: list[Mapping[str, Any]]) -> Iterator[str]:
    """Which write of several was the first that failed, and how many were done."""
    yield f"at index {failures[0].get('index', failures[0].get('idx'))}"
    about = failures[0].get("op", {})
    about = about.get("q", about)  # an insert has the document, other writes their filter
    if about:
        yield f"_id {_value(about['_id'])}" if "_id" in about else f"filter {_value(about)}"
    written = sum(reply.get(key, 0) for key in ("nInserted", "nUpserted", "nModified", "nRemoved"))
    yield f"after {written:,} {'write' if written == 1 else 'writes'}"
    if len(failures) > 1:
        yield f"{len(failures) - 1:,} more failed"


def write_refusal(failure: Mapping[str, Any]) -> str:
    """Why the server has refused to write one document, with the rules of a validator that it breaks."""
    info = failure.get("errInfo")
    if not isinstance(info, Mapping) or "details" not in info:  # before MongoDB 5.0
        return _message(failure)
    return f"{_message(failure)}: {_examples(list(_broken_rules(info['details'])))}"


def _broken_rules(part: Any, field: str = "") -> Iterator[str]:
    """Each rule of a validator that a document breaks, as the server names them inside of each other."""
    if isinstance(part, (list, tuple)):
        for inner in part:
            yield from _broken_rules(inner, field)
        return
    for key in ("propertyName", "itemIndex"):
        if key in part:
            field = f"{field}.{part[key]}".lstrip(".")
    inside = [value for key, value in part.items() if key not in VALUES_OF_RULES and _has_rules(value)]
    if inside:
        described = f" ({part['description']})" if "description" in part else ""
        yield from _broken_rules(inside, field + described)
    else:
        yield (f"{field}: " if field else "") + _broken_rule(part)


VALUES_OF_RULES = {
    "missingProperties": "missing",
    "additionalProperties": "additional",
    "consideredValue": "found",
    "consideredValues": "found",
    "specifiedAs": "",
}
"""What the server says about a broken rule, with the words for it."""


def _has_rules(value: Any) -> bool:
    parts = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(part, Mapping) for part in parts)


def _broken_rule(part: Mapping[str, Any]) -> str:
    rule = _value(part["specifiedAs"]) if "specifiedAs" in part else str(part.get("operatorName"))
    found = [f"{words} {_value(part[key])}" for key, words in VALUES_OF_RULES.items() if words and key in part]
    return ", ".join([rule, *(found or filter(None, [part.get("reason")]))])


def _message(reply: Mapping[str, Any]) -> str:
    return shorten(mask(str(reply.get("errmsg", ""))), MAX_MESSAGE_LENGTH).rstrip(".")


def _value(value: object) -> str:
    # Masked before it is cut: a part of a secret is not recognized.
    return shorten(mask(repr(value)), MAX_VALUE_LENGTH)


def _examples(texts: list[str]) -> str:
    more = len(texts) - MAX_EXAMPLES
    return "; ".join(texts[:MAX_EXAMPLES]) + (f"; and {more:,} more" if more > 0 else "")
