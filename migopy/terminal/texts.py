"""Texts that can be shown and stored: one line, of bearable length, without control characters and without secrets."""

from __future__ import annotations

import json
import re
from typing import Iterator
from urllib.parse import quote, quote_plus, unquote

LONGEST = 4_000
"""Characters of a text that is shown or stored; a document of MongoDB holds 16 MB."""

MASK = "***"

SHORT = 6
"""A secret of fewer characters is masked as a word of its own only: it may be a part of many others."""

CREDENTIALS = r"(?i)(\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)\S+@"
"""The password in a connection string, of whatever server."""

_secrets: set[str] = set()


def hide(*secrets: object) -> None:
    """From now on ``masked()`` hides these values, as they are and as other texts quote them."""
    for secret in secrets:
        if secret is not None and str(secret):
            _secrets.update(_spellings(str(secret)))


def _spellings(secret: str) -> Iterator[str]:
    for text in (secret, unquote(secret)):
        yield from (text, quote(text, safe=""), quote_plus(text), repr(text)[1:-1], json.dumps(text)[1:-1])


def masked(text: str) -> str:
    """The text without the secrets of the settings, and without the password of any connection string."""
    text = re.sub(CREDENTIALS, rf"\g<1>{MASK}@", text)
    for secret in sorted(_secrets, key=len, reverse=True):
        if len(secret) < SHORT:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", MASK, text)
        else:
            text = text.replace(secret, MASK)
    return text


def escaped(text: str, kept: str = "") -> str:
    """Control characters and whatever else moves a cursor, or cannot be encoded, as Python writes it: ``\\x1b``."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in kept else character.encode("unicode_escape").decode()
        for character in text
    )


def one_line(text: object) -> str:
    """The text as it may stand in a message, in a table or in a document: masked, escaped and cut."""
    line = escaped(" ".join(masked(safe_str(text))[: 2 * LONGEST].split()))
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def shortened(text: str, width: int) -> str:
    """Cut in the middle: a migration is known by its number and by its last words."""
    if len(text) <= width:
        return text
    end = (width - 1) // 2
    return f"{text[: width - 1 - end]}…{text[-end:]}"


def safe_str(thing: object) -> str:
    """``str()`` of an object of the team's, which may raise."""
    try:
        return str(thing)
    except Exception as error:
        return f"(its text cannot be told: {type(error).__name__})"


def summary(error: BaseException) -> str:
    """Type and text of an error in one line, without the full stop that the sentence around it brings.

    PyMongo puts the server's whole reply behind its text, which is for the traceback only.
    """
    text = one_line(without_reply(safe_str(error))).rstrip(".")
    name = one_line(type(error).__name__)
    return f"{name}: {text}" if text else name


def without_reply(text: str) -> str:
    """The text of an error without what PyMongo puts behind it: the server's whole reply."""
    return text.partition(", full error:")[0]
