"""Documents in a file as Extended JSON, which names the BSON type of each value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Iterator

import bson
from bson import json_util
from bson.errors import InvalidBSON

from ..errors import ConfigurationError
from .concerns import EXACTLY, READS_ALL_DATES

_OPTIONS = json_util.JSONOptions(
    json_mode=json_util.JSONMode.CANONICAL, uuid_representation=0, tz_aware=False, **READS_ALL_DATES
)

_SHORT = json_util.JSONOptions(json_mode=json_util.JSONMode.RELAXED, uuid_representation=0, **READS_ALL_DATES)


def as_json(document: bytes) -> str | None:
    """A document of BSON as one line of Extended JSON.

    None if that would not be the same document when it is read, such as one with a type of BSON that is out of use.
    """
    try:
        line = json_util.dumps(bson.decode(document, EXACTLY), json_options=_OPTIONS, ensure_ascii=False)
        is_same = bson.encode(_from_json(line), codec_options=EXACTLY) == document
    except (InvalidBSON, OverflowError, ValueError, TypeError):  # such as a date that PyMongo cannot read
        return None
    return line if is_same else None


def as_value(value: Any) -> Any:
    """A value of BSON as JSON can hold it: as it is, or as an object that names its type."""
    return json.loads(json_util.dumps({"": value}, json_options=_SHORT))[""]


def read_file(path: Path) -> list[dict[str, Any]]:
    """The documents of a file: one list, or one document on each line, as mongoexport writes them.

    Raises ``ConfigurationError`` if it holds anything else.
    """
    text = path.read_text(encoding="utf-8")
    is_list = text.lstrip().startswith("[")
    parts = [text] if is_list else text.splitlines()
    return [document for number, part in enumerate(parts, start=1) for document in _read(part, path, number)]


def _read(text: str, path: Path, line: int) -> Iterator[dict[str, Any]]:
    if not text.strip():
        return
    try:
        found = _from_json(text)
    except (ValueError, TypeError, ArithmeticError, bson.errors.BSONError) as error:
        raise ConfigurationError(f"{path} is not Extended JSON (from line {line} on): {error}.") from error
    for document in found if isinstance(found, list) else [found]:
        if not isinstance(document, dict):
            raise ConfigurationError(f"{path} holds {document!r} where a document has to be.")
        yield document


def _from_json(text: str) -> Any:
    return json_util.loads(text, json_options=_OPTIONS)
