"""What the sample migrations leave in a database, and what PyMongo 3.13 makes of them without migopy.

`expected.json` is the second, recorded once, on Python 3.9, with PyMongo 3.13.0 and MongoDB 6.0:

    python -m tests.legacy.record mongodb://localhost:27017 > tests/legacy/expected.json
"""

from __future__ import annotations

import json
import re
import sys
import unittest
import warnings
from pathlib import Path
from typing import Any, Callable, cast

import pymongo
from bson import CodecOptions
from bson.binary import UuidRepresentation

from tests.legacy import as_json
from tests.legacy.calls import outcomes

MIGRATIONS = Path(__file__).with_name("mongomigrations")
EXPECTED = Path(__file__).with_name("expected.json")
RECORDED_ON = (6, 0)
IS_PYMONGO_3 = pymongo.version_tuple[0] == 3

# Keywords that PyMongo 3.0 renamed or removed: its own methods only understand the new ones.
RENAMED_IN_PYMONGO_3 = {
    r"(\.find(?:_one)?\(.*)\bfields=": r"\1projection=",
    r"\bspec=": "filter=",
    r"\bsafe=True": "w=1",
    r"\btimeout=False": "no_cursor_timeout=False",
}


def migrations() -> list[Path]:
    """The sample files in the order of their numbers."""
    return sorted(MIGRATIONS.glob("[0-9]*.py"), key=lambda path: int(path.name.split("_")[0]))


def function(path: Path, name: str, source: str | None = None) -> Callable[[Any], None]:
    """`up` or `down` of the file, or of a changed source of it."""
    module: dict[str, Any] = {"__name__": path.stem}
    exec(compile(source or path.read_text(encoding="utf-8"), str(path), "exec"), module)
    return cast("Callable[[Any], None]", module[name])


def for_pymongo_3(path: Path) -> str:
    source = path.read_text(encoding="utf-8")
    for old, new in RENAMED_IN_PYMONGO_3.items():
        source = re.sub(old, new, source)
    return source


def contents(db: Any) -> dict[str, Any]:
    """Every document, index and option of the database as JSON data, without what differs between two runs."""
    plain = pymongo.database.Database(
        db.client, db.name, codec_options=CodecOptions(uuid_representation=UuidRepresentation.UNSPECIFIED)
    )
    collections = sorted(plain.list_collections(), key=lambda info: str(info["name"]))
    return {info["name"]: contents_of(plain[info["name"]], info) for info in collections}


def contents_of(collection: Any, info: Any) -> dict[str, Any]:
    documents = [as_json(document) for document in collection.find()]
    return {
        "documents": sorted(documents, key=lambda document: json.dumps(document, sort_keys=True)),
        "indexes": {
            name: as_json({key: value for key, value in index.items() if key != "ns"})
            for name, index in sorted(collection.index_information().items())
        },
        "options": as_json(info["options"]),
    }


def expected(db: Any) -> Any:
    """What PyMongo 3.13 made of all this; on another server than then it does it now, in a database of its own."""
    version = tuple(db.client.server_info()["versionArray"])
    if version[:2] == RECORDED_ON:
        return json.loads(EXPECTED.read_text(encoding="utf-8"))
    if not IS_PYMONGO_3:
        raise unittest.SkipTest(f"What PyMongo 3.13 does with MongoDB {version} only PyMongo 3.13 knows.")
    return json.loads(as_text(of_pymongo_3(db.client, f"{db.name}_of_3")))


def of_pymongo_3(client: Any, name: str) -> dict[str, Any]:
    """What PyMongo 3.13 makes of the files and of the single calls, in a database of that name that is gone after."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _of_pymongo_3(client, name)
    finally:
        client.drop_database(name)


def _of_pymongo_3(client: Any, name: str) -> dict[str, Any]:
    for path in migrations():
        function(path, "up", for_pymongo_3(path))(client[name])
    left = contents(client[name])
    client.drop_database(name)
    return {"migrations": left, "calls": outcomes(client[name])}


def as_text(recorded: dict[str, Any]) -> str:
    """JSON with one line for each collection and each call."""
    parts = {
        part: ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in values.items())
        for part, values in recorded.items()
    }
    return "{" + ",\n".join(f"{json.dumps(part)}: {{\n{lines}\n}}" for part, lines in parts.items()) + "}"


if __name__ == "__main__":
    assert pymongo.version_tuple[:2] == (3, 13), pymongo.version
    print(as_text(of_pymongo_3(pymongo.MongoClient(sys.argv[1]), "legacy_record")))
