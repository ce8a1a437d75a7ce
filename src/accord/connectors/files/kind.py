"""The files connector as the engine sees it before any I/O."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import ClassVar
from zoneinfo import ZoneInfo

import msgspec

from accord.connectors.files.connection import FilesConnection
from accord.connectors.files.partitions import NO_FOLDER_NAMES
from accord.connectors.files.source import extra_of
from accord.connectors.files.spec import FilesEntity, FilesSettings
from accord.connectors.files.target import name_fields
from accord.errors import Faults, Place, did_you_mean
from accord.record import Entity
from accord.sdk.bulk import LoadMode
from accord.sdk.connector import Capabilities, Connection, Context, Idempotency, KindBase, RateLimit, WriteMode
from accord.settings.node import Node

_APPEND_REASON = (
    "lines added to a file carry no effect id; write one file per record (`name` with {effect_id}) for a guarantee"
)


class FilesKind(KindBase):
    name: ClassVar[str] = "files"
    summary: ClassVar[str] = "Files in folders: CSV, JSON, JSON Lines, XML, fixed-width, Excel"
    settings: ClassVar[type[msgspec.Struct]] = FilesSettings
    entity_settings: ClassVar[type[msgspec.Struct] | None] = FilesEntity

    def capabilities(self, settings: FilesSettings, entity: Entity) -> Capabilities:
        extra = extra_of(entity)
        modes: dict[WriteMode, Idempotency] = {}
        if extra.append:
            modes = {WriteMode.CREATE: Idempotency.NONE}
        elif extra.name and "{effect_id}" in extra.name:
            modes = {WriteMode.CREATE: Idempotency.KEY}
        elif extra.name:
            modes = {WriteMode.UPSERT: Idempotency.UPSERT, WriteMode.DELETE: Idempotency.UPSERT}
        is_read = bool(extra.pattern) or not (modes or extra.dataset)
        return Capabilities(
            read=is_read,
            read_changes=is_read,
            read_takes_away=is_read,
            bulk_read=is_read,
            bulk_spread=is_read,
            bulk_write=frozenset({LoadMode.APPEND, LoadMode.REPLACE}) if extra.dataset else frozenset(),
            write=frozenset(modes),
            idempotency=modes,
            write_items_max=500 if extra.append else 50,
            at_least_once_reason=_APPEND_REASON if extra.append else "",
        )

    def rate_limit(self, settings: FilesSettings) -> RateLimit:
        return RateLimit(concurrent=8, adaptive=False)

    def check(self, settings: FilesSettings, entities: Mapping[str, Entity], node: Node, faults: Faults) -> None:
        _check_encoding(settings.encoding, node.place_of("encoding"), faults)
        try:
            ZoneInfo(settings.zone)
        except (KeyError, ValueError, OSError):
            what = f"There is no time zone '{settings.zone}'."
            faults.add("connector.files-zone", node.place_of("zone"), what, "Write an IANA name such as Europe/Berlin.")
        for key in ("processed", "rejected"):
            if _leads_out(getattr(settings, key)):
                what = f"`{key}` must be a folder inside `folder`."
                faults.add(
                    "connector.files-outside", node.place_of(key), what, "Write a name without '..' or a leading '/'."
                )
        for name, entity in entities.items():
            _check_entity(name, entity, faults)

    def connect(self, settings: FilesSettings, entities: Mapping[str, Entity], context: Context) -> Connection:
        return FilesConnection(settings, entities, context)


def _leads_out(text: str) -> bool:
    pure = PurePosixPath(text)
    return pure.is_absolute() or ".." in pure.parts or "\\" in text


def _check_encoding(encoding: str, place: Place, faults: Faults) -> None:
    if encoding:
        try:
            codecs.lookup(encoding)
        except LookupError:
            faults.add(
                "connector.files-encoding",
                place,
                f"There is no encoding '{encoding}'.",
                "Known: utf-8, cp1252, utf-16 …",
            )


def _check_entity(name: str, entity: Entity, faults: Faults) -> None:
    extra, place = extra_of(entity), entity.place
    _check_encoding(extra.encoding, place, faults)
    for key in ("pattern", "name", "append", "dataset"):
        if _leads_out(getattr(extra, key)):
            what = f"`{key}` of '{name}' leads out of the folder."
            faults.add("connector.files-outside", place, what, "Write a path without '..' or a leading '/'.")
    form = extra.format_of()
    if form == "fixed" and not extra.columns:
        what = f"The fixed-width entity '{name}' has no `columns`."
        faults.add("connector.files-columns", place, what, "Write columns: {field: {start: 1, width: 10}}.")
    for key, given in (("columns", extra.columns), ("headers", extra.headers)):
        for field in given:
            if field not in entity.fields:
                what = f"`{key}` of '{name}' names '{field}', which is no field of it."
                faults.add("connector.files-field", place, what, did_you_mean(field, entity.fields))
    _check_name(name, entity, extra, faults)
    for field in extra.partition:
        if field not in entity.fields:
            what = f"`partition` of '{name}' names '{field}', which is no field of it."
            faults.add("connector.files-field", place, what, did_you_mean(field, entity.fields))
        elif isinstance(entity.fields[field].type, NO_FOLDER_NAMES):
            what = f"`partition` of '{name}' names '{field}', whose values have no form as the name of a folder."
            faults.add("connector.files-field", place, what, "Partition by texts, numbers, booleans, dates or times.")
    if form in ("excel", "parquet") and (extra.name or extra.append):
        what = f"'{name}' would be written as {form}, which is only read."
        faults.add("connector.files-format", place, what, "Use csv, json, jsonl, xml or fixed for writing.")
    if extra.append and form in ("json", "xml"):
        what = f"'{name}' appends to a {form} document, which has one end only."
        faults.add("connector.files-format", place, what, "Use jsonl, csv or fixed, or `name` for a file per record.")


def _check_name(name: str, entity: Entity, extra: FilesEntity, faults: Faults) -> None:
    try:
        fields = name_fields(extra.name)
    except ValueError:
        faults.add("connector.files-name", entity.place, f"The `name` of '{name}' has an open brace.", "Write {field}.")
        return
    if extra.name and not fields:
        what = f"Every record of '{name}' would be written over the same file."
        faults.add(
            "connector.files-name", entity.place, what, "Put {effect_id} or a key field into `name`, or use `append`."
        )
    for field in fields:
        if field != "effect_id" and field not in entity.fields:
            what = f"`name` of '{name}' uses '{field}', which is no field of it."
            faults.add("connector.files-name", entity.place, what, did_you_mean(field, [*entity.fields, "effect_id"]))
