"""A connection to one API: plans prepared once, each call one exchange."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from accord.connectors.http.hooks import load_hooks
from accord.connectors.http.reading import Reader
from accord.connectors.http.receiving import Receiver
from accord.connectors.http.requests import (
    Base,
    FindPlan,
    MissingValue,
    RequestPlan,
    WritePlan,
    get_plan,
    is_read_only,
    operation_plan,
)
from accord.connectors.http.settings import HttpEntity, HttpSettings
from accord.connectors.http.transport import Transport, decoded
from accord.errors import ConnectorError
from accord.record import Done, Entity, Outcome, Partial, Reconnect, Reject, Retry
from accord.record.batch import Batch
from accord.sdk.auth import RefreshToken, open_auth, secrets_of
from accord.sdk.bodies import value_at
from accord.sdk.bulk import BulkRead, Load, LoadSpec
from accord.sdk.connector import (
    CallItem,
    Connection,
    Context,
    Page,
    ReadFailed,
    Received,
    Refused,
    WriteItem,
    WriteMode,
)
from accord.sdk.errors_http import ErrorRules
from accord.sdk.http import HttpRequest, HttpResponse, InboundRequest
from accord.sdk.rate_headers import BudgetReader
from accord.settings.secret import Secret


class HttpConnection(Connection):
    def __init__(self, settings: HttpSettings, entities: Mapping[str, Entity], context: Context) -> None:
        self._settings = settings
        self._entities = entities
        self._context = context
        self._by_key = bool(settings.idempotency_header)
        self._receiver = Receiver(settings.webhooks) if settings.webhooks else None

    async def open(self) -> None:
        """Prepares everything; sends nothing. Raises ConnectorError when the hooks cannot be loaded."""
        settings = self._settings
        kept = self._context.state_folder / f"{self._context.system}.refresh-token"
        rotates = isinstance(settings.auth, RefreshToken)
        auth = open_auth(
            settings.auth,
            self._context.http,
            refresh_token=kept.read_text("utf-8") if rotates and kept.is_file() else "",
            keep_refresh_token=(lambda token: _keep(kept, token)) if rotates else None,
        )
        rules = ErrorRules(settings.errors, secrets=secrets_of(settings))
        self._transport = Transport(
            self._context.http,
            auth,
            rules,
            load_hooks(self._context.folder, settings.hooks),
            BudgetReader(settings.rate_limit.headers),
            self._context.budget,
        )
        headers = {n.lower(): v.reveal() if isinstance(v, Secret) else v for n, v in settings.headers.items()}
        self._base = Base(settings, {**headers, **auth.headers}, auth.query)
        self._plan()

    def _plan(self) -> None:
        base = self._base
        self._writes: dict[tuple[str, WriteMode], WritePlan] = {}
        self._finds: dict[str, FindPlan] = {}
        self._gets: dict[str, tuple[RequestPlan, str]] = {}
        for name, entity in self._entities.items():
            extra = _extra(entity)
            for mode in WriteMode:
                settings = getattr(extra.write, mode.value)
                if settings is not None:
                    self._writes[name, mode] = WritePlan(base, entity, mode, settings)
            if extra.find is not None:
                self._finds[name] = FindPlan(base, extra.find)
            if extra.get is not None:
                self._gets[name] = get_plan(base, extra.get)
        operations = self._settings.operations.items()
        self._calls = {name: operation_plan(base, operation) for name, operation in operations}
        self._call_finds = {name: FindPlan(base, o.find) for name, o in operations if o.find is not None}

    async def check(self) -> Outcome:
        request = HttpRequest(
            method="GET",
            url=self._base.url(self._settings.check_path, {}),
            headers=self._base.headers,
            timeout_s=self._base.timeout_s,
        )
        response = await self._transport.exchange(request, changes=False, is_check=True)
        if isinstance(response, HttpResponse):
            _, outcome = decoded(response, changes=False)
            return Done() if outcome is None else outcome
        refusals = ("connector.unauthorized", "connector.forbidden")
        if not self._settings.check_path and isinstance(response, Reject) and response.code not in refusals:
            return Done()  # nobody said what to ask for: any other answer shows that the system is there
        return response

    def read(self, entity: Entity, position: Any = None) -> AsyncIterator[Page]:
        extra = _extra(entity)
        return Reader(self._transport, self._base, entity, extra, extra.paging or self._settings.paging).read(position)

    async def read_bulk(self, entity: Entity, request: BulkRead) -> AsyncIterator[Batch]:
        """As ``accord.sdk.bulk``: pages on their way at once, within the system's rate."""
        from accord.connectors.http.bulk import BulkReader

        extra = _extra(entity)
        reader = Reader(self._transport, self._base, entity, extra, extra.paging or self._settings.paging)
        try:
            bulk = BulkReader(reader, entity, request, self._settings)
            async with contextlib.aclosing(bulk.batches()) as batches:
                async for batch in batches:
                    yield batch
        except ConnectorError as error:
            if isinstance(error, ReadFailed):
                raise
            raise ReadFailed(Reject(str(error.what), code=error.code)) from error

    def load(self, entity: Entity, spec: LoadSpec) -> Load:
        """As ``accord.sdk.bulk``: batches, where the entity declares them."""
        from accord.connectors.http.batch_load import BatchLoad

        return BatchLoad(self._transport, self._base, entity, spec, self._settings, self._context)

    async def get(self, entity: Entity, key: str) -> Outcome:
        plan, answer = self._gets[entity.short_name]
        names = dict.fromkeys(entity.key, key)
        request = plan.build({**names, "key": key}, "")
        record, outcome = await self._transport.json(request, lambda body: value_at(body, answer), changes=False)
        if outcome is not None:
            return outcome
        if not isinstance(record, dict):
            return Retry("the answer holds no record")
        return Done(record)

    def write(self, entity: Entity, mode: WriteMode, items: Sequence[WriteItem]) -> Coroutine[Any, Any, Outcome]:
        plan = self._writes[entity.short_name, mode]
        find = self._finds.get(entity.short_name) if mode in (WriteMode.CREATE, WriteMode.UPSERT) else None
        return self._write(plan, find, items[0]) if len(items) == 1 else self._write_all(plan, find, items)

    async def _write_all(self, plan: WritePlan, find: FindPlan | None, items: Sequence[WriteItem]) -> Outcome:
        return Partial(tuple(await asyncio.gather(*(self._write(plan, find, item) for item in items))))

    async def _write(self, plan: WritePlan, find: FindPlan | None, item: WriteItem) -> Any:
        try:
            if item.in_doubt and find is not None and not self._by_key:
                found = await self._look(find, item.record, item.effect_id)
                if found is not None:
                    return found
            request = plan.request.build(item.record, item.effect_id)
        except MissingValue as error:
            return _missing(error)
        response = await self._transport.exchange(request, changes=True)
        if isinstance(response, HttpResponse):
            body, outcome = decoded(response, changes=True)
            return Done(plan.result(body)) if outcome is None else outcome
        if plan.is_delete and isinstance(response, Reject) and response.code == "connector.not-found":
            return Done(was_there=True)
        return _still_in_doubt(response, item.in_doubt)

    async def _look(self, find: FindPlan, record: Mapping[str, Any], effect_id: str) -> Outcome | None:
        """Done when it was done before; None when not; Retry or Reconnect (still in doubt) when that cannot be told."""
        request = find.request.build(record, effect_id)
        found, outcome = await self._transport.json(
            request, lambda body: find.found(body, record, effect_id), changes=False
        )
        if isinstance(outcome, Reject) and outcome.code == "connector.not-found":
            return None
        if outcome is not None:
            return _still_in_doubt(outcome, True)
        return Done(found, was_there=True) if found is not None else None

    async def call(self, operation: str, item: CallItem) -> Outcome:
        settings = self._settings.operations.get(operation)
        if settings is None:
            return Reject(f"the system has no operation {operation}", code="connector.unknown-operation")
        changes = not is_read_only(settings)
        find = self._call_finds.get(operation)
        try:
            if item.in_doubt and find is not None and not self._by_key:
                found = await self._look(find, item.arguments, item.effect_id)
                if found is not None:
                    return found
            request = self._calls[operation].build(item.arguments, item.effect_id)
        except MissingValue as error:
            return _missing(error)
        result, outcome = await self._transport.json(
            request, lambda body: value_at(body, settings.answer), changes=changes
        )
        return Done(result) if outcome is None else _still_in_doubt(outcome, item.in_doubt and changes)

    def receive(self, request: InboundRequest) -> Received | Refused:
        return self._receiver.receive(request) if self._receiver else super().receive(request)

    async def subscribe(self, address: str, topics: Sequence[str]) -> Outcome:
        webhooks = self._settings.webhooks
        asked = webhooks.subscribe if webhooks else None
        if asked is None:
            return Done(None)
        find = FindPlan(self._base, asked.find)
        plan = RequestPlan(self._base, method=asked.method, path=asked.path, body=asked.body, sends_record=True)
        made: list[str] = []
        for topic in topics:
            wanted = {"address": address, "topic": topic}
            found = await self._look(find, wanted, "")
            if found is None:
                response = await self._transport.exchange(plan.build(wanted, f"subscribe {topic}"), changes=True)
                if not isinstance(response, HttpResponse):
                    return response
                made.append(topic)
            elif not isinstance(found, Done):
                return found
        return Done({"subscribed": made})


def _extra(entity: Entity) -> HttpEntity:
    return entity.extra if isinstance(entity.extra, HttpEntity) else HttpEntity()


def _missing(error: MissingValue) -> Reject:
    return Reject(f"the value of {error.name} is needed for the address but missing", path=error.name)


def _still_in_doubt(outcome: Outcome, was_in_doubt: bool) -> Outcome:
    """What was in doubt before an attempt that failed is still so."""
    if was_in_doubt and isinstance(outcome, Retry | Reconnect) and not outcome.in_doubt:
        return msgspec.structs.replace(outcome, in_doubt=True)
    return outcome


def _keep(path: Path, token: str) -> None:
    """Stores the newest refresh token for this user only, whole or not at all."""
    try:
        temporary = path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(token)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise ConnectorError(
            f"the new refresh token cannot be stored: {error.strerror}",
            mend="Make the state folder writable.",
            code="connector.refresh-token",
        ) from error
