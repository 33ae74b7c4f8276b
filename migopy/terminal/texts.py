"""Making texts safe to show and to store: masked, escaped and cut to a limited length."""

from __future__ import annotations

import json
import re
from typing import Iterator
from urllib.parse import quote, quote_plus, unquote

MAX_LENGTH = 4_000
"""Characters of a text that is shown or stored. A document of MongoDB holds at most 16 MB."""

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


def safe_str(thing: object) -> str:
    """``str()`` of any object. Raises nothing."""
    try:
        return str(thing)
    except Exception as error:
        return f"(str() of it raised {type(error).__name__})"


def summary(error: BaseException) -> str:
    """Type and text of an error on one line, without the full stop at the end."""
    text = one_line(without_reply(safe_str(error))).rstrip(".")
    name = one_line(type(error).__name__)
    return f"{name}: {text}" if text else name


def without_reply(text: str) -> str:
    """The text of an error without the server's whole reply, which PyMongo appends."""
    return text.partition(", full error:")[0]
