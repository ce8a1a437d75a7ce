"""The log's stream in NATS JetStream: connection, stream, appending one message, reading messages by number.

Knows nothing of what entries mean. Wire facts: https://docs.nats.io/nats-concepts/jetstream and the client's own code; error numbers are
the server's (``server/errors.json`` of nats-server).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
from collections.abc import Callable
from typing import Any

import msgspec
import nats.errors
from nats.aio.client import Client, RawCredentials
from nats.js import JetStreamContext, api
from nats.js import errors as js_errors

from accord.errors import JournalError
from accord.journal.stores.jetstream_faults import unavailable, unfit_stream

CONNECT_WAIT_S = 2  # for one server to answer, before the next is tried
RECONNECT_EVERY_S = 0.25
PING_EVERY_S = 1  # so that a connection that is half dead is found within
PINGS_MAX = 2  # unanswered ones
ANSWER_WAIT_S = 2.0  # for an answer of JetStream; electing a new leader takes about as long
RETRY_EVERY_S = 0.1
RENEW_AFTER_S = 10.0  # without an acknowledgement: a new connection, to whichever server answers first
CLOSE_WAIT_S = 2.0
WINDOW = 64  # messages asked for at once
HEADERS_SIZE_BYTES_MAX = 1024  # of a message's bytes, for its headers
# Of the server: earlier ones replay a purge after a restart as one of everything (nats-server #4196, #4357).
PURGES_SINCE = (2, 9, 21)
DUPLICATE_WINDOW_S = 120.0  # the server's default; entries do not rely on it

_WRONG_LAST_SEQUENCE = (10070, 10071)
_ERRORS = (nats.errors.Error, OSError, TimeoutError, asyncio.TimeoutError)


class Raw(msgspec.Struct, frozen=True):
    """A message of the stream. ``id`` is what its writer called it."""

    seq: int
    id: str
    data: bytes


class Extent(msgspec.Struct, frozen=True):
    """What the stream holds: messages ``first`` to ``last`` (0 to 0: none yet), ``size_bytes`` of them."""

    first: int
    last: int
    size_bytes: int


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``servers``: nats:// or tls:// addresses. ``credentials``: the text of a credentials file, ``user:password``, or a token."""

    servers: tuple[str, ...]
    stream: str = "accord"
    replicas: int = 3
    credentials: str = ""
    start_wait_s: float = 10.0


class LogStream:
    """One connection. ``trouble`` is told what keeps entries from being written, or None when one was; from the event loop."""

    def __init__(self, settings: LogSettings, trouble: Callable[[object], None]) -> None:
        self.settings = settings
        self.stream = settings.stream
        self.subject = f"{settings.stream}.log.0"
        self._trouble = trouble
        self._nats = Client()
        self._js: JetStreamContext = self._nats.jetstream(timeout=ANSWER_WAIT_S)
        self._connected = asyncio.Event()
        self._replicas = settings.replicas
        self._connected_once = False
        self._is_closed = False

    async def connect(self) -> None:
        """Raises JournalError ``journal.unavailable`` after ``start_wait_s``, ``journal.path`` for addresses that are none."""
        client = Client()
        last: list[object] = ["no server answers"]

        async def on_error(error: Exception) -> None:
            last[0] = error
            if client is self._nats and not client.is_connected:
                self._trouble(error)

        async def on_lost() -> None:
            if client is self._nats:
                self._connected.clear()
                self._trouble("the connection was lost")

        async def on_back() -> None:
            if client is self._nats:
                self._connected.set()

        try:
            async with asyncio.timeout(self.settings.start_wait_s):
                await client.connect(
                    list(self.settings.servers),
                    name="accord",
                    error_cb=on_error,
                    disconnected_cb=on_lost,
                    closed_cb=on_lost,
                    reconnected_cb=on_back,
                    connect_timeout=CONNECT_WAIT_S,
                    reconnect_time_wait=RECONNECT_EVERY_S,  # type: ignore[arg-type]
                    max_reconnect_attempts=-1,
                    ping_interval=PING_EVERY_S,
                    max_outstanding_pings=PINGS_MAX,
                    **_identity(self.settings),
                )
        except _ERRORS as error:
            await _close(client)
            raise unavailable(last[0] if isinstance(error, TimeoutError) else error) from error
        except ValueError as error:
            await _close(client)
            raise JournalError(
                "An address of the journal's servers cannot be read.",
                mend="Write them like nats://host:4222.",
                code="journal.path",
            ) from error
        self._nats = client
        self._js = client.jetstream(timeout=ANSWER_WAIT_S)
        self._connected_once = True
        self._connected.set()

    async def close(self) -> None:
        self._is_closed = True
        if self._connected_once:
            await _close(self._nats)

    async def _wait_connected(self) -> None:
        """Returns after a while in any case. A client that does not come back by itself gives way to a new one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RENEW_AFTER_S):
                await self._connected.wait()
        if not self._connected.is_set() and not self._is_closed:
            await self._renew()

    async def _renew(self) -> None:
        old = self._nats
        try:
            await self.connect()
        except JournalError as error:
            self._trouble(error.what)
        else:
            await _close(old)

    @property
    def size_bytes_max(self) -> int:
        """Of one entry's bytes."""
        return int(self._nats.max_payload) - HEADERS_SIZE_BYTES_MAX

    @property
    def context(self) -> JetStreamContext:
        """For the snapshots beside the log. Ask each time: a connection may be renewed."""
        return self._js

    # the stream

    async def prepare(self) -> Extent:
        """Makes the stream if it is not there, and checks it. Raises JournalError ``journal.stream``, ``journal.unavailable``."""
        info = await self._patiently(self._make_or_find)
        config = info.config
        replicas = config.num_replicas or 1
        self._replicas = replicas
        if replicas < self.settings.replicas:
            what = f"it has {replicas} replicas, the project wants {self.settings.replicas}"
            raise unfit_stream(self.stream, what)
        if list(config.subjects or []) != [self.subject]:
            raise unfit_stream(self.stream, f"its subjects are {', '.join(config.subjects or [])}, not {self.subject}")
        if config.max_age or config.discard != api.DiscardPolicy.NEW:
            raise unfit_stream(self.stream, "it drops old messages (max age, or discard old)")
        if config.retention not in (None, api.RetentionPolicy.LIMITS) or config.storage == api.StorageType.MEMORY:
            raise unfit_stream(self.stream, "its storage must be file and its retention limits")
        if not config.allow_direct:
            raise unfit_stream(self.stream, "it does not allow direct reads (allow_direct)")
        return _extent(info)

    async def _make_or_find(self) -> api.StreamInfo:
        try:
            return await self._js.stream_info(self.stream)
        except js_errors.NotFoundError:
            config = api.StreamConfig(
                name=self.stream,
                description="The journal of an Accord project. Its entries belong together: do not delete any.",
                subjects=[self.subject],
                retention=api.RetentionPolicy.LIMITS,
                discard=api.DiscardPolicy.NEW,
                storage=api.StorageType.FILE,
                num_replicas=self.settings.replicas,
                duplicate_window=DUPLICATE_WINDOW_S,
                allow_direct=True,
                deny_delete=True,
            )
            return await self._js.add_stream(config)

    async def find(self) -> Extent:
        """Of a stream that must be there. Raises JournalError ``journal.stream``, ``journal.unavailable``."""
        try:
            return _extent(await self._js.stream_info(self.stream))
        except js_errors.NotFoundError as error:
            raise unfit_stream(self.stream, "there is none of that name") from error
        except _ERRORS as error:
            raise unavailable(error) from error

    async def extent(self) -> Extent:
        """Raises JournalError ``journal.unavailable``."""
        return _extent(await self._once(lambda: self._js.stream_info(self.stream)))

    async def too_old_to_purge(self) -> str:
        """The version of a server that loses more than it is told to when it restarts after a purge, '' when there is none among those of
        the settings that answer and the one connected to. A stream of one replica has no log of purges that could be replayed."""
        if self._replicas == 1:
            return ""
        versions = [_version(self._nats)]
        versions += await asyncio.gather(*(self._version_of(server) for server in self.settings.servers))
        return next((version for version in versions if version and version_numbers(version) < PURGES_SINCE), "")

    async def _version_of(self, server: str) -> str:
        """'' when it does not answer."""
        client = Client()
        try:
            async with asyncio.timeout(CONNECT_WAIT_S):
                await client.connect(
                    [server], name="accord", error_cb=_unheard, allow_reconnect=False, **_identity(self.settings)
                )
                return _version(client)
        except _ERRORS:
            return ""
        finally:
            await _close(client)

    async def trim(self, first: int) -> None:
        """Drops messages before ``first``; never on servers that are ``too_old_to_purge``. Raises JournalError ``journal.unavailable``."""
        await self._once(lambda: self._js.purge_stream(self.stream, seq=first))

    async def _once(self, ask: Callable[[], Any]) -> Any:
        try:
            return await ask()
        except _ERRORS as error:
            raise unavailable(error) from error

    async def _patiently(self, ask: Callable[[], Any]) -> Any:
        """Again for ``start_wait_s``: a cluster that is just starting has no leaders yet."""
        deadline = asyncio.get_running_loop().time() + self.settings.start_wait_s
        while True:
            try:
                return await ask()
            except _ERRORS as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise unavailable(error) from error
                await asyncio.sleep(RETRY_EVERY_S)

    # entries

    async def append(self, data: bytes, id_: str, last: int, *, is_sent: bool = False) -> int | None:
        """The number the message got, when the server says so; None when the stream does not end at ``last`` (any more): then reading
        tells. Waits for as long as it takes; only what certainly was not kept raises JournalError ``journal.unavailable`` (never when a
        copy of it ``is_sent`` already)."""
        headers: dict[str, str] = {
            api.Header.MSG_ID: id_,
            api.Header.EXPECTED_STREAM: self.stream,
            api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE: str(last),
        }
        renewed_s = asyncio.get_running_loop().time()
        while not self._is_closed:
            if not self._connected.is_set():
                if not is_sent:
                    raise unavailable("the connection was lost")
                await self._wait_connected()
                continue
            try:
                ack = await self._js.publish(self.subject, data, timeout=ANSWER_WAIT_S, headers=dict(headers))
            except js_errors.NoStreamResponseError as error:
                self._trouble("no server leads the stream")
                if not is_sent:
                    raise unavailable("no server leads the stream") from error
            except js_errors.APIError as error:
                is_sent = True
                if error.err_code in _WRONG_LAST_SEQUENCE:
                    return None
                self._trouble(error.description)
            except _ERRORS as error:
                is_sent = True
                self._trouble(error)
            else:
                return ack.seq
            if (now_s := asyncio.get_running_loop().time()) - renewed_s > RENEW_AFTER_S:
                renewed_s = now_s
                await self._renew()  # another server may see what this one does not
            await asyncio.sleep(RETRY_EVERY_S)
        raise unavailable("the connection is closed")

    async def read(self, first: int, limit: int = WINDOW) -> list[Raw]:
        """Messages ``first``, ``first`` + 1, … up to the first that is not there. Each was committed by the cluster; a server that lags
        behind may show fewer. Raises JournalError ``journal.unavailable``."""
        found = await asyncio.gather(*(self._get(seq) for seq in range(first, first + limit)))
        whole: list[Raw] = []
        for raw in found:
            if raw is None:
                break
            whole.append(raw)
        return whole

    async def _get(self, seq: int) -> Raw | None:
        try:
            message = await self._js.get_msg(self.stream, seq, direct=True)
        except js_errors.NotFoundError:
            return None
        except _ERRORS as error:
            raise unavailable(error) from error
        if message.seq != seq or message.data is None:
            return None
        return Raw(seq, (message.headers or {}).get(api.Header.MSG_ID, ""), message.data)


async def _close(client: Client) -> None:
    """What a connection tells while it ends is of no use to anybody; one that is half dead may not end at all."""
    with contextlib.suppress(*_ERRORS):
        async with asyncio.timeout(CLOSE_WAIT_S):
            await client.close()


async def _unheard(_error: Exception) -> None:
    """Whoever asks sees that there was no answer."""


def _version(client: Client) -> str:
    found = client.connected_server_version
    return f"{found.major}.{found.minor}.{found.patch}"


def version_numbers(version: str) -> tuple[int, ...]:
    """Of "2.9.21" or "2.11.0-RC.1"; what has none counts as old."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    return tuple(int(number) for number in found.groups()) if found else ()


def _extent(info: api.StreamInfo) -> Extent:
    state = info.state
    return Extent(state.first_seq if state.messages else state.last_seq + 1, state.last_seq, state.bytes)


def _identity(settings: LogSettings) -> dict[str, Any]:
    """How this client says who it is."""
    options: dict[str, Any] = {}
    if any(server.startswith(("tls://", "wss://")) for server in settings.servers):
        options["tls"] = ssl.create_default_context()
    text = settings.credentials
    if "-----BEGIN NATS USER JWT-----" in text:
        options["user_credentials"] = RawCredentials(text)
    elif ":" in text:
        options["user"], _, options["password"] = text.partition(":")
    elif text:
        options["token"] = text
    return options
