"""A sample of one collection as a file, so that tests of migrations have documents as odd as the real ones."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Iterator, Sequence

from pymongo import ReadPreference

from ..errors import ConfigurationError
from ..mongo.extended_json import as_json
from ..mongo.failures import server_errors
from ..mongo.raw import Element, elements, id_text, split
from ..terminal.options import closest_word, require_not_empty
from ..terminal.texts import MAX_EXAMPLES
from ..terminal.wording import plural
from .result import sample_limit
from .scratch.copying import find_original, read
from .scratch.raw import VIEW, list_collections

if TYPE_CHECKING:
    from pymongo.database import Database

DEFAULT_DOCUMENTS = 100
"""Documents of a sample unless the option ``documents`` says otherwise."""


class Sample:
    """A sample of the collection ``name``, and the file ``path`` that it is written to.

    Raises ``UnknownSubtask`` for an empty name or a wrong number of documents, and ``ConfigurationError`` if no file
    can be written there.
    """

    def __init__(self, name: str, path: str, documents: str | None) -> None:
        require_not_empty("COLLECTION", name, "the name of a collection")
        require_not_empty("FILE", path, "the name of a file")
        self.limit = sample_limit(documents, DEFAULT_DOCUMENTS)
        self.path = Path(path)
        self._name = name
        if not self.path.parent.is_dir() or not os.access(self.path.parent, os.W_OK) or self.path.is_dir():
            raise ConfigurationError(f"{path} cannot be written there. Nothing was read.")

    def require_collection(self, db: Database[Any], address: str) -> None:
        """Raises ``ConfigurationError`` if the database has no such collection."""
        with server_errors(address):
            kinds = {info["name"]: info.get("type") for info in list_collections(db)}
        if self._name not in kinds:
            similar = closest_word(self._name, kinds)
            hint = f" Did you mean {similar}?" if similar else ""
            raise ConfigurationError(f"{db.name} at {address} has no collection {self._name!r}.{hint}")
        if kinds[self._name] == VIEW:
            raise ConfigurationError(f"{self._name} is a view: name the collection that it shows.")

    def write(self, db: Database[Any], address: str) -> str:
        """Write the file, which only its owner may read. Returns the message for people."""
        written, left_out = 0, []
        try:
            with _replacing(self.path) as file, server_errors(address):
                for document in self._documents(db):
                    line = as_json(document)
                    if line is None:
                        left_out.append(_id_of(document))
                    else:
                        file.write(f"{',' if written else '['}\n{line}")
                        written += 1
                file.write("\n]\n" if written else "[]\n")
        except OSError as error:
            raise ConfigurationError(f"{self.path} cannot be written: {error.strerror}.") from error
        return f"Wrote {plural(written, 'document')} of {self._name} to {self.path}.{_sentence_of(left_out)}"

    def _documents(self, db: Database[Any]) -> Iterator[bytes]:
        db = db.with_options(read_preference=ReadPreference.SECONDARY_PREFERRED)
        original = find_original(db, self._name)
        if original is None:  # before_rehearsal() has dropped it
            return
        known = set()
        for batch in read(db[self._name], original, self.limit):
            for document in split(batch):
                key = _id_of(document) or document
                if key not in known:
                    known.add(key)
                    yield document


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[str]]:
    """A new file that takes the place of ``path`` when the block has ended well."""
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with open(number, "w", encoding="utf-8") as file:
            yield file
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _id_of(document: bytes) -> Element | None:
    """None for one of a time series that has no ``_id``."""
    return next((field for field in elements(document) if field.name == b"_id"), None)


def _sentence_of(left_out: Sequence[Element | None]) -> str:
    if not left_out:
        return ""
    ids = ", ".join(id_text(id) if id else "none" for id in left_out[:MAX_EXAMPLES])
    more = f" and {len(left_out) - MAX_EXAMPLES:,} more" if len(left_out) > MAX_EXAMPLES else ""
    are = "is" if len(left_out) == 1 else "are"
    return f" {plural(len(left_out), 'document')} {are} left out, which JSON cannot hold exactly: _id {ids}{more}."
