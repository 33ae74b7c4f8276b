"""The options that PyMongo 2 let a migration read and set on a collection, a database and a client."""

from __future__ import annotations

from collections import abc
from typing import Any

from bson import CodecOptions
from bson.binary import UuidRepresentation
from pymongo import ReadPreference
from pymongo import errors as pymongo_errors
from pymongo.write_concern import WriteConcern

from .arguments import boolean
from .calls import Translated, TranslatedProperty, warn

ACCEPTABLE_LATENCY = 15
"""Milliseconds by which a member may be farther away than the nearest one: the default of PyMongo 2 and of today."""


def options_of(of: Any) -> dict[str, Any]:
    """The options that databases and collections share, under the names that their constructors take."""
    return {name: getattr(of, name) for name in ("codec_options", "read_preference", "write_concern", "read_concern")}


def codec_options_of_2014(options: CodecOptions[Any]) -> CodecOptions[Any]:
    """UUIDs are stored as PyMongo 2 and 3 did, unless the client has a representation of its own."""
    if options.uuid_representation == getattr(UuidRepresentation, "UNSPECIFIED", 0):
        return options.with_options(uuid_representation=UuidRepresentation.PYTHON_LEGACY)
    return options


def with_tags(preference: Any, tag_sets: Any) -> Any:
    """The read preference with these tag sets. ``[{}]`` are none."""
    if preference.mode == ReadPreference.PRIMARY.mode:
        if tag_sets != [{}]:
            raise pymongo_errors.ConfigurationError("ReadPreference PRIMARY cannot be combined with tags")
        return preference
    return type(preference)(tag_sets=tag_sets)


def write_concern_of(value: Any) -> Any:
    """A document of options was a write concern in PyMongo 2; ``{}`` is the server's default."""
    return WriteConcern(**value) if isinstance(value, abc.Mapping) else value


def _settable(name: str, understood: Any = lambda value: value) -> Any:
    """An option that is read only since PyMongo 3."""

    def change(self: Adjustable, value: Any) -> None:
        warn(f"{name} = ...", f"with_options({name}=...)")
        self._adjust(**{name: understood(value)})

    return property(lambda self: self._option(name), change)


class Adjustable:
    """Options as in PyMongo 2: what is set holds from then on, and for what is taken from the object afterwards."""

    write_concern = _settable("write_concern", write_concern_of)
    read_preference = _settable("read_preference")

    def _option(self, name: str) -> Any:
        return getattr(super(), name)

    def _adjust(self, **options: Any) -> None:
        raise NotImplementedError

    def _change_safe(self, value: bool) -> None:
        boolean("safe", value)
        if value and not self.write_concern.acknowledged:
            self._adjust(write_concern=WriteConcern())
        if not value and "w" not in self.write_concern.document:
            self._adjust(write_concern=WriteConcern(w=0))

    @TranslatedProperty("write_concern.acknowledged", _change_safe)
    def safe(self) -> bool:
        return bool(self.write_concern.acknowledged)

    @Translated("write_concern.document")
    def get_lasterror_options(self) -> dict[str, Any]:
        return dict(self.write_concern.document)

    @Translated("with_options(write_concern=WriteConcern(...))")
    def set_lasterror_options(self, **options: Any) -> None:
        self._adjust(write_concern=WriteConcern(**{**self.write_concern.document, **options}))

    @Translated("with_options(write_concern=WriteConcern(...))")
    def unset_lasterror_options(self, *options: str) -> None:
        kept = {name: value for name, value in self.write_concern.document.items() if options and name not in options}
        self._adjust(write_concern=WriteConcern(**kept))

    def _change_slave_okay(self, value: bool) -> None:
        boolean("slave_okay", value)
        if value == (self.read_preference.mode == ReadPreference.PRIMARY.mode):
            self._adjust(read_preference=ReadPreference.SECONDARY_PREFERRED if value else ReadPreference.PRIMARY)

    @TranslatedProperty("read_preference", _change_slave_okay)
    def slave_okay(self) -> bool:
        return bool(self.read_preference.mode != ReadPreference.PRIMARY.mode)

    def _change_tag_sets(self, value: list[Any]) -> None:
        self._adjust(read_preference=with_tags(self.read_preference, value))

    @TranslatedProperty("read_preference", _change_tag_sets)
    def tag_sets(self) -> list[Any]:
        return list(self.read_preference.tag_sets)

    def _change_secondary_acceptable_latency_ms(self, value: float) -> None:
        """Nothing: it chooses among members that may all be read from."""

    @TranslatedProperty("MONGO_CLIENT_OPTIONS = {'localThresholdMS': ...}", _change_secondary_acceptable_latency_ms)
    def secondary_acceptable_latency_ms(self) -> int:
        return ACCEPTABLE_LATENCY

    def _change_uuid_subtype(self, value: int) -> None:
        codec_options = self.codec_options.with_options(uuid_representation=value)  # type: ignore[attr-defined]
        self._adjust(codec_options=codec_options)

    @TranslatedProperty("codec_options.uuid_representation", _change_uuid_subtype)
    def uuid_subtype(self) -> int:
        return int(codec_options_of_2014(self.codec_options).uuid_representation)  # type: ignore[attr-defined]
