"""A live connection to one folder. File work runs on threads; the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from accord.connectors.files.changed import Changed, changed_since
from accord.connectors.files.dataset import DatasetLoad
from accord.connectors.files.folder import Arrived, Folder, Outside
from accord.connectors.files.partitions import is_left_out
from accord.connectors.files.shape import shapes
from accord.connectors.files.source import Position, extra_of, pages, read_position
from accord.connectors.files.spec import FilesSettings
from accord.connectors.files.target import Unwritable, content, file_name, first_line, line
from accord.connectors.files.values import Converter
from accord.record import Done, Entity, Outcome, Partial, Reconnect, Reject, Retry
from accord.record.batch import Batch
from accord.sdk.ahead import read_ahead
from accord.sdk.bulk import BulkRead, LoadSpec
from accord.sdk.connector import Connection, Context, Page, ReadFailed, WriteItem, WriteMode
from accord.sdk.shape import Shape
from accord.sdk.spread import ReadPart

_GONE = "the folder is not there (not mounted?)"


class FilesConnection(Connection):
    def __init__(self, settings: FilesSettings, entities: Mapping[str, Entity], context: Context) -> None:
        self._settings = settings
        self._folder = Folder(context.folder / settings.folder, settings)
        self._broken: dict[str, str] = {}
        self._appending = asyncio.Lock()

    async def check(self) -> Outcome:
        if not await asyncio.to_thread(self._folder.exists):
            return Reconnect(_GONE)
        if not os.access(self._folder.root, os.R_OK | os.X_OK):
            return Reject("the folder may not be read", code="connector.files-permission")
        return Done(None)

    async def read(self, entity: Entity, position: Any = None) -> AsyncIterator[Page]:
        """Pages of the files that have arrived; with none but some on their way, waits once for them to be stable."""
        files = await self._arrived(entity)
        found = pages(self._folder, entity, self._settings, files, read_position(position), self._broken)
        while True:
            try:
                page = await asyncio.to_thread(next, found, None)
            except OSError as error:
                raise ReadFailed(outcome_of(error)) from None
            if page is None:
                return
            yield page

    async def read_bulk(self, entity: Entity, request: BulkRead) -> AsyncIterator[Batch]:
        """As ``accord.sdk.bulk``; the next batch is read while this one is worked on. Files know no ``cursor``."""
        from accord.connectors.files.bulk import batches

        files, start = await self._begun(entity, request)
        found = batches(entity, self._settings, files, start, request, self._broken)
        try:
            async with contextlib.aclosing(read_ahead(found)) as ahead:
                async for batch in ahead:
                    yield batch
        except Changed as error:
            raise ReadFailed(error.reject) from None
        except OSError as error:
            raise ReadFailed(outcome_of(error)) from None

    @contextlib.asynccontextmanager
    async def parts(self, entity: Entity, request: BulkRead) -> AsyncIterator[Sequence[ReadPart]]:
        """See ``accord.sdk.spread``: a part per file, of large Parquet files several."""
        from accord.connectors.files.parts import parts_of

        files, start = await self._begun(entity, request)
        try:
            found = await asyncio.to_thread(lambda: parts_of(entity, self._settings, files, start, request))
        except OSError as error:
            raise ReadFailed(outcome_of(error)) from None
        yield found

    async def _begun(self, entity: Entity, request: BulkRead) -> tuple[list[Arrived], Position]:
        """What there is to read, and from where on. Raises ReadFailed, also when a file is not the one any more that was begun."""
        files, start = await self._arrived(entity), read_position(request.position)
        changed = changed_since(start, files)
        if changed is not None:
            raise ReadFailed(changed)
        return files, start

    def heard(self, notes: Mapping[str, str]) -> None:
        self._broken.update(notes)

    async def shape(self, entity: Entity, position: Any = None) -> Sequence[Shape]:
        done = read_position(position).done
        files = [file for file in await self._arrived(entity) if done.get(file.name) != file.identity]
        try:
            return await asyncio.to_thread(lambda: list(shapes(entity, self._settings, files)))
        except OSError as error:
            raise ReadFailed(outcome_of(error)) from None

    async def _arrived(self, entity: Entity) -> list[Arrived]:
        extra = extra_of(entity)
        pattern = extra.pattern or f"{entity.short_name}.*"
        try:
            for is_second in (False, True):
                if not await asyncio.to_thread(self._folder.exists):
                    raise ReadFailed(Reconnect(_GONE))
                files, are_coming = await asyncio.to_thread(self._folder.look, pattern)
                if extra.partition:
                    files = [file for file in files if not is_left_out(file.name)]
                if files or not are_coming or is_second:
                    return files
                await asyncio.sleep(self._settings.stable.total_seconds() + 0.001)
        except OSError as error:
            raise ReadFailed(outcome_of(error)) from None
        return []

    async def settled(self, entity: Entity, name: str, *, rejected: bool) -> None:
        if extra_of(entity).keep:
            return
        reason = self._broken.get(name, "the file was refused" if rejected else "")
        to = self._settings.rejected if reason else self._settings.processed
        await asyncio.to_thread(self._folder.move, name, to, reason)
        self._broken.pop(name, None)

    async def write(self, entity: Entity, mode: WriteMode, items: Sequence[WriteItem]) -> Outcome:
        if extra_of(entity).append:
            async with self._appending:
                return await asyncio.to_thread(self._append, entity, items)
        outcomes = await asyncio.to_thread(lambda: [self._write_one(entity, mode, item) for item in items])
        return outcomes[0] if len(items) == 1 else Partial(tuple(outcomes))

    def load(self, entity: Entity, spec: LoadSpec) -> DatasetLoad:
        """See ``accord.sdk.bulk.BulkTarget``; for entities with a ``dataset``."""
        self._folder.inside(extra_of(entity).dataset)
        return DatasetLoad(self._folder.root, entity, extra_of(entity), spec, outcome_of)

    def _converter(self, entity: Entity) -> Converter:
        return Converter(entity.fields, extra_of(entity), ZoneInfo(self._settings.zone))

    def _write_one(self, entity: Entity, mode: WriteMode, item: WriteItem) -> Done | Retry | Reconnect | Reject:
        extra = extra_of(entity)
        try:
            if not self._folder.exists():
                return Reconnect(_GONE)
            name = file_name(extra.name, item.record, item.effect_id)
            if mode is WriteMode.DELETE:
                path = self._folder.inside(name)
                was_there = path.exists()
                path.unlink(missing_ok=True)
                return Done({"file": name}, was_there=not was_there)
            encoding = extra.encoding or self._settings.encoding
            raw = content(extra.format_of(extra.name), item.record, extra, self._converter(entity), encoding)
            if mode is WriteMode.CREATE:
                return Done({"file": name}, was_there=not self._folder.write_new(name, raw))
            self._folder.write_over(name, raw)
            return Done({"file": name})
        except Unwritable as error:
            return error.reject
        except Outside as error:
            return Reject(error.what, code=error.code)
        except OSError as error:
            return outcome_of(error)

    def _append(self, entity: Entity, items: Sequence[WriteItem]) -> Outcome:
        extra, converter = extra_of(entity), self._converter(entity)
        form, encoding = extra.format_of(extra.append), extra.encoding or self._settings.encoding
        if not self._folder.exists():
            return Reconnect(_GONE)
        outcomes: list[Done | Retry | Reconnect | Reject] = []
        lines = []
        for item in items:
            try:
                lines.append(line(form, item.record, extra, converter, encoding))
                outcomes.append(Done({"file": extra.append}))
            except Unwritable as error:
                outcomes.append(error.reject)
        try:
            self._folder.append(extra.append, b"".join(lines), first_line(form, extra, converter, encoding))
        except OSError as error:
            return outcome_of(error, is_append=True)
        return outcomes[0] if len(outcomes) == 1 else Partial(tuple(outcomes))


def outcome_of(error: OSError, *, is_append: bool = False) -> Retry | Reconnect | Reject:
    """The one place where an error of the file system becomes an outcome. An append may have come through in part."""
    text = error.strerror or type(error).__name__
    if isinstance(error, PermissionError):
        return Reject(f"the file system refuses: {text}", code="connector.files-permission")
    if isinstance(error, FileNotFoundError):
        return Retry(f"a file went away: {text}")
    if isinstance(error, IsADirectoryError | NotADirectoryError | FileExistsError):
        return Reject(f"a folder or file stands in the way: {text}", code="connector.files-name")
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Reconnect(f"there is no room left for the files: make room on their disk ({text})", in_doubt=is_append)
    return Reconnect(f"the file system fails: {text}", in_doubt=is_append)
