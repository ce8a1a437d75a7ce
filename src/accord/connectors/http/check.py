"""Faults of a manifest that can be seen without asking the API: unknown placeholders, unknown entities, unsafe addresses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from accord.connectors.http.requests import EFFECT_ID
from accord.connectors.http.settings import (
    BatchSettings,
    FindSettings,
    GetSettings,
    HttpEntity,
    HttpSettings,
    OperationSettings,
)
from accord.errors import Faults, Place, did_you_mean
from accord.record import Entity
from accord.record.types import Field, Json, List, Object
from accord.sdk.addresses import is_loopback
from accord.sdk.auth import ClientCredentials, NoAuth, RefreshToken
from accord.sdk.bodies import placeholders
from accord.sdk.connector import WriteMode
from accord.sdk.paging import drifts
from accord.sdk.webhooks import NoSignature
from accord.settings.fields import read_fields
from accord.settings.node import Node


def check_manifest(settings: HttpSettings, entities: Mapping[str, Entity], node: Node, faults: Faults) -> None:
    checker = _Checker(settings, entities, node, faults)
    checker.addresses()
    for name, entity in entities.items():
        if isinstance(entity.extra, HttpEntity):
            checker.entity(name, entity, entity.extra)
    for name, operation in settings.operations.items():
        checker.operation(name, operation)
    checker.webhooks()


class _Checker:
    def __init__(self, settings: HttpSettings, entities: Mapping[str, Entity], node: Node, faults: Faults) -> None:
        self.settings = settings
        self.entities = entities
        self.node = node
        self.faults = faults

    def place(self, *keys: str) -> Place:
        """Where a setting stands: the deepest of ``keys`` that is written."""
        node, place = self.node, self.node.place
        for key in keys:
            child = node.get(key)
            if child is None:
                break
            place, node = node.place_of(key), child
        return place

    def addresses(self) -> None:
        settings = self.settings
        self.address(settings.address, settings.auth, self.place("address"))
        if isinstance(settings.auth, ClientCredentials | RefreshToken):
            self.address(settings.auth.token_address, settings.auth, self.place("auth", "token_address"))
        if settings.manifest:
            self.faults.add(
                "connector.manifest",
                self.place("manifest"),
                f"The manifest {settings.manifest} was not read.",
                "Give its path from the project's folder.",
            )

    def address(self, address: str, auth: Any, place: Place) -> None:
        url = urlsplit(address)
        if url.scheme not in ("http", "https") or not url.hostname:
            mend = "Write it like https://api.example.com/v1."
            self.faults.add("connector.bad-address", place, f"'{address}' is no address of an API.", mend)
        elif url.username or url.password:
            mend = "Use `auth: {type: basic, user: …, password: ${secret:…}}`."
            self.faults.add("connector.bad-address", place, "The address holds a user or password.", mend)
        elif url.scheme == "http" and not isinstance(auth, NoAuth) and not is_local(url.hostname):
            self.faults.add(
                "connector.plain-http",
                place,
                f"Credentials would go to {url.hostname} unencrypted.",
                "Use https://.",
                severity="warning",
            )

    def entity(self, name: str, entity: Entity, extra: HttpEntity) -> None:
        known = set(entity.fields)
        if extra.get is not None:
            get = GetSettings(path=extra.get) if isinstance(extra.get, str) else extra.get
            self.templates(f"`get` of {name}", [get.path, get.query], {*entity.key, "key"}, entity.fields, entity.place)
        for mode in WriteMode:
            write = getattr(extra.write, mode.value)
            if write is not None:
                used = [write.path, write.query, write.body, write.headers]
                self.templates(f"`write.{mode}` of {name}", used, known | {EFFECT_ID}, entity.fields, entity.place)
                for field in write.omit:
                    self.unknown(field, known, f"`write.{mode}.omit` of {name}", entity.place)
        for load in ("append", "upsert"):
            self.batch(f"`bulk.{load}` of {name}", entity, getattr(extra.bulk, load))
        if extra.find is not None:
            self.find(f"`find` of {name}", extra.find, entity.fields, entity.place)
        if extra.read is not None:
            self.read(name, entity, extra)

    def batch(self, what: str, entity: Entity, batch: BatchSettings | None) -> None:
        if batch is None:
            return
        self.templates(what, [batch.path, batch.query, batch.headers], {EFFECT_ID}, {}, entity.place)
        for field in batch.omit:
            self.unknown(field, set(entity.fields), f"`omit` in {what}", entity.place)
        if batch.answers is not None and batch.answers.by == "key" and len(entity.key) != 1:
            mend = "Declare a `key` of one field, or use `by: position` or `by: index`."
            message = f"The answers to {what} are told apart by a key, and the entity has none of one field."
            self.faults.add("connector.batch-key", entity.place, message, mend)

    def read(self, name: str, entity: Entity, extra: HttpEntity) -> None:
        assert extra.read is not None
        if not extra.path:
            mend = "Give the `path` that lists the records."
            self.faults.add("connector.no-path", entity.place, f"{name} has `read` but no `path`.", mend)
        if placeholders(extra.read.value) != {"since"}:
            mend = 'Write it with {since} only, like "gt:{since}".'
            self.faults.add("connector.placeholder", entity.place, f"`read.value` of {name} must hold {{since}}.", mend)
        if drifts(extra.paging or self.settings.paging) and not extra.read.sorted:
            self.faults.add(
                "connector.drifting-pages",
                entity.place,
                f"{name} is read by counted pages: a record that changes meanwhile can push another one out of sight.",
                f"Ask the API to sort by {extra.read.cursor} ascending and declare `read.sorted: true`.",
                severity="warning",
            )

    def find(self, what: str, find: FindSettings, fields: Mapping[str, Field], place: Place) -> None:
        self.templates(what, [find.path, find.query, find.match], {*fields, EFFECT_ID}, fields, place)
        if not placeholders([find.path, find.query, find.match]):
            mend = "Look for something of the record, or for {effect_id}."
            self.faults.add("connector.find", place, f"{what} finds the same for every record.", mend)

    def templates(
        self, what: str, templates: Iterable[Any], known: set[str], fields: Mapping[str, Field], place: Place
    ) -> None:
        for name in sorted(placeholders(list(templates))):
            first, _, rest = name.partition(".")
            if first not in known:
                self.unknown(first, known, what, place, braces=True)
            elif rest and first in fields and not _leads_somewhere(fields[first], rest):
                mend = f"{first} has no such part."
                self.faults.add("connector.placeholder", place, f"{what} names {{{name}}}.", mend)

    def unknown(self, name: str, known: set[str], what: str, place: Place, *, braces: bool = False) -> None:
        if name not in known:
            shown = f"{{{name}}}" if braces else f"`{name}`"
            self.faults.add(
                "connector.placeholder", place, f"{what} names {shown}, which is not known.", did_you_mean(name, known)
            )

    def operation(self, name: str, operation: OperationSettings) -> None:
        place = self.place("operations", name)
        takes: Mapping[str, Field] = {}
        if operation.takes is not None and operation.takes.value is not None:
            takes = read_fields(operation.takes, self.faults, what=f"`takes` of {name}") or {}
        if operation.gives is not None and operation.gives.value is not None:
            read_fields(operation.gives, self.faults, what=f"`gives` of {name}")
        used = [operation.path, operation.query, operation.body, operation.headers]
        self.templates(f"the operation {name}", used, {*takes, EFFECT_ID}, takes, place)
        if operation.find is not None:
            self.find(f"`find` of the operation {name}", operation.find, takes, place)
        for field in sorted(placeholders(operation.path)):
            if field in takes and takes[field].nullable:
                mend = f"Declare {field} without '?'."
                self.faults.add(
                    "connector.placeholder", place, f"{name} needs {{{field}}} in its path, but it may be null.", mend
                )

    def webhooks(self) -> None:
        webhooks = self.settings.webhooks
        if webhooks is None:
            return
        for topic, name in webhooks.topics.items():
            if name not in self.entities:
                place = self.place("webhooks", "topics", topic)
                mend = did_you_mean(name, self.entities)
                self.faults.add(
                    "connector.unknown-entity", place, f"The topic {topic} names the unknown entity '{name}'.", mend
                )
            elif webhooks.fetch is not None:
                extra = self.entities[name].extra
                if not isinstance(extra, HttpEntity) or extra.get is None:
                    place = self.place("webhooks", "fetch")
                    mend = "Declare its `get`."
                    self.faults.add("connector.fetch", place, f"`fetch` needs to read {name} by key.", mend)
        if webhooks.subscribe is not None:
            asked, known = webhooks.subscribe, {"address", "topic"}
            used = [asked.path, asked.body, asked.find.path, asked.find.query, asked.find.match]
            self.templates("`webhooks.subscribe`", used, known, {}, self.place("webhooks", "subscribe"))
        if isinstance(webhooks.signature, NoSignature):
            self.faults.add(
                "connector.unsigned-webhooks",
                self.place("webhooks", "signature"),
                "Anybody who knows the address can send webhooks.",
                "Choose a signature the system offers.",
                severity="warning",
            )


def is_local(host: str) -> bool:
    """Loopback: nothing leaves the machine."""
    return is_loopback(host) or host.endswith(".localhost")


def _leads_somewhere(field: Field, path: str) -> bool:
    type_ = field.type
    for part in path.split("."):
        if isinstance(type_, Json):
            return True
        if isinstance(type_, List) and part.isdigit():
            type_ = type_.item
        elif isinstance(type_, Object) and part in type_.fields:
            type_ = type_.fields[part].type
        else:
            return False
    return True
