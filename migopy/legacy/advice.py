"""What to write instead of a name of PyMongo 2 that a migration takes from PyMongo itself, not from its ``db``.

Nothing is added to PyMongo's modules and classes, because the team's application uses them too.
"""

from __future__ import annotations

import inspect
import re

from ..terminal.texts import safe_str
from .calls import DROPPED, UNTRANSLATED, Translated
from .collection import Collection

MOVED_TO_BSON = (
    *("binary", "code", "dbref", "json_util", "max_key"),
    *("min_key", "objectid", "son", "timestamp", "tz_util"),
)
CLIENT = "from pymongo import MongoClient"
OWN_FUNCTION = "a function of your own that changes the document before it is written"

# Names and modules of PyMongo 1 and 2, and what to write today.
NAMES = {
    "pymongo.Connection": CLIENT,
    "pymongo.MasterSlaveConnection": CLIENT,
    "pymongo.MongoReplicaSetClient": CLIENT,
    "pymongo.ReplicaSetConnection": CLIENT,
    "pymongo.connection": CLIENT,
    "pymongo.master_slave_connection": CLIENT,
    "pymongo.mongo_replica_set_client": CLIENT,
    "pymongo.replica_set_connection": CLIENT,
    "pymongo.cursor_manager": "nothing, cursors close themselves",
    "pymongo.son_manipulator": OWN_FUNCTION,
    "pymongo.bson": "import bson",
    **{f"pymongo.{name}": f"from bson.{name} import ..." for name in MOVED_TO_BSON},
    "pymongo.ALL": "the number 2",
    "pymongo.OFF": "the number 0",
    "pymongo.SLOW_ONLY": "the number 1",
    "pymongo.GEOHAYSTACK": "a 2d index, as MongoDB 5.0 dropped haystacks",
    "bson.binary.OLD_BINARY_SUBTYPE": "the number 2",
    "bson.binary.UUIDLegacy": "Binary.from_uuid(value, UuidRepresentation.PYTHON_LEGACY)",
    "bson.py3compat": "six, or what Python 3 has",
    "pymongo.errors.CertificateError": "ConnectionFailure",
    "pymongo.errors.TimeoutError": "NetworkTimeout",
    "pymongo.errors.UnsupportedOption": "ConfigurationError",
}

NO_SUCH_NAME = (
    r"cannot import name '(?P<name>\w+)' from '(?P<module>[\w.]+)'",
    r"module '(?P<module>[\w.]+)' has no attribute '(?P<name>\w+)'",
    r"No module named '(?P<module>[\w.]+)\.(?P<name>\w+)'",
)
NO_SUCH_METHOD_OF_REGEX = r"'Regex' object has no attribute '(\w+)'"
NO_SUCH_METHOD = r"object is not callable\. If you meant to call the '(\w+)' method on a '\w+' object"


def advice(error: BaseException) -> str:
    """A sentence that says what to write today, or an empty text."""
    text = safe_str(error)
    for pattern in NO_SUCH_NAME:
        missing = re.search(pattern, text)
        if missing:
            name = f"{missing['module']}.{missing['name']}"
            return f"PyMongo 4 has no {name}: write {NAMES[name]}." if name in NAMES else ""
    of_regex = re.search(NO_SUCH_METHOD_OF_REGEX, text)
    if of_regex:
        return f"PyMongo 2 compiled what it read, PyMongo 3 and 4 do not: write .try_compile().{of_regex[1]}."
    # PyMongo 4 takes the name of an old method for a collection, and raises when that is called.
    called = re.search(NO_SUCH_METHOD, text)
    return _advice_for_method(called[1]) if isinstance(error, TypeError) and called else ""


def _advice_for_method(name: str) -> str:
    ours = inspect.getattr_static(Collection, name, None)
    if isinstance(ours, Translated):
        return f"PyMongo 4 has no {name}: take the collection from db, which understands it, or write {ours.today}."
    if name in DROPPED:
        return f"MongoDB {DROPPED[name][0]} dropped {name}: write {DROPPED[name][1]}."
    return f"PyMongo 4 has no {name}: write {UNTRANSLATED[name]}." if name in UNTRANSLATED else ""
