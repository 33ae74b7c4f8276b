"""Options of collections, databases and clients, which PyMongo 2 let a migration read and set."""

from __future__ import annotations

from collections import abc
from typing import Any

from bson import CodecOptions
from bson.binary import UuidRepresentation
from pymongo import ReadPreference
from pymongo import errors as pymongo_errors
from pymongo.collection import Collection
from pymongo.write_concern import WriteConcern

from .arguments import require_boolean
from .calls import Translated, TranslatedProperty, refuse_dropped, warn

DEFAULT_LATENCY_MS = 15  # in PyMongo 2 and today: how much slower than the nearest member a member may be


def options_of(of: Any) -> dict[str, Any]:
    """The options that databases and collections share, under the names that their constructors take."""
    return {name: getattr(of, name) for name in ("codec_options", "read_preference", "write_concern", "read_concern")}


def legacy_codec_options(options: CodecOptions[Any]) -> CodecOptions[Any]:
    """These options with UUIDs as PyMongo 2 and 3 stored them, unless they name a representation themselves."""
    # PyMongo 3.13 has no UNSPECIFIED. There the default, 3, is the legacy one already.
    if options.uuid_representation == getattr(UuidRepresentation, "UNSPECIFIED", 0):
        return options.with_options(uuid_representation=UuidRepresentation.PYTHON_LEGACY)
    return options


def with_tags(preference: Any, tag_sets: Any) -> Any:
    if preference.mode == ReadPreference.PRIMARY.mode:
        if tag_sets != [{}]:  # this one means: no tags
            raise pymongo_errors.ConfigurationError("ReadPreference PRIMARY cannot be combined with tags")
        return preference
    return type(preference)(tag_sets=tag_sets)


def to_write_concern(value: Any) -> Any:
    return WriteConcern(**value) if isinstance(value, abc.Mapping) else value  # {} is the server's default


def collection_for_write(collection: Collection[Any], safe: bool | None = None, **concern: Any) -> Collection[Any]:
    """The collection with the write concern of a call. As in PyMongo 2.6 it replaces the collection's own."""
    refuse_dropped(collection)
    if safe is not None:
        require_boolean("safe", safe)
    concern = {**(concern.pop("writeConcern", None) or {}), **concern}
    if concern:
        write_concern = WriteConcern(**concern)
    elif safe is None or (safe and collection.write_concern.acknowledged):
        write_concern = collection.write_concern
    else:
        write_concern = WriteConcern() if safe else WriteConcern(w=0)
    return collection.with_options(
        codec_options=legacy_codec_options(collection.codec_options), write_concern=write_concern
    )


def settable_option(name: str, convert: Any = lambda value: value) -> Any:
    """An option that is read only since PyMongo 3."""

    def change(self: Adjustable, value: Any) -> None:
        warn(f"{name} = ...", f"with_options({name}=...)")
        self._adjust(**{name: convert(value)})

    return property(lambda self: self._option(name), change)


class Adjustable:
    """An object whose options can be set. What is taken from it afterwards has them too."""

    write_concern = settable_option("write_concern", to_write_concern)
    read_preference = settable_option("read_preference")

    def _option(self, name: str) -> Any:
        return getattr(super(), name)

    def _adjust(self, **options: Any) -> None:
        raise NotImplementedError

    def _change_safe(self, value: bool) -> None:
        require_boolean("safe", value)
        if value and not self.write_concern.acknowledged:
            self._adjust(write_concern=WriteConcern())
        # In PyMongo 2 an explicit w was stronger than safe=False.
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
        # Without arguments it removes all of them.
        kept = {name: value for name, value in self.write_concern.document.items() if options and name not in options}
        self._adjust(write_concern=WriteConcern(**kept))

    def _change_slave_okay(self, value: bool) -> None:
        require_boolean("slave_okay", value)
        # True changes only the primary to a secondary, and False only a secondary to the primary.
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
        """Do nothing: any of the members will do."""

    @TranslatedProperty("MONGO_CLIENT_OPTIONS = {'localThresholdMS': ...}", _change_secondary_acceptable_latency_ms)
    def secondary_acceptable_latency_ms(self) -> int:
        return DEFAULT_LATENCY_MS

    def _change_uuid_subtype(self, value: int) -> None:
        codec_options = self.codec_options.with_options(uuid_representation=value)  # type: ignore[attr-defined]
        self._adjust(codec_options=codec_options)

    @TranslatedProperty("codec_options.uuid_representation", _change_uuid_subtype)
    def uuid_subtype(self) -> int:
        return int(legacy_codec_options(self.codec_options).uuid_representation)  # type: ignore[attr-defined]
