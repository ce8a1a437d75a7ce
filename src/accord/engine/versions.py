"""Versions of flows in flight: a message finishes on the version it began with.

A message *has begun* when an effect of it was asked for, or when it came to a wait. Its first settle that does not end it then carries
a stamp (result ``~version``) of the version that ran it; a message that ends on its first attempt carries none, so the common case
costs nothing. Stamped messages run on their version, all others on the project's own.

After a crash it is not known which unstamped messages had begun. So those accepted before the crash count as begun on the version that
ran then.

The journal keeps, for each flow, the project's version and the earlier ones that open messages still need (cursor ``versions``), and
the declarations of each as files by content (``snapshot:…``, ``snapshot-file:…``). What no open message needs is removed. A version that
cannot run any more holds its messages (``HELD_BY_VERSION``) until the project is mended, or an operator moves them to today's version.
"""

from __future__ import annotations

import datetime as dt
import itertools
import zlib
from collections.abc import Mapping

import msgspec

from accord.engine.clock import Clock
from accord.engine.dispatch import JOURNAL_RETRY_S
from accord.engine.ends import REASON_LENGTH_MAX, VERSION_PATH, Stamp
from accord.errors import JournalError
from accord.flow.effects import EffectInfo
from accord.flow.flow import Flow
from accord.journal.group import Journal
from accord.journal.operations import Lease, MessageRow, ReleaseHeld, SaveCursors, Settle, State
from accord.journal.search import MessageQuery
from accord.observe import Observer
from accord.observe.events import VersionHeld
from accord.project import Project
from accord.project.snapshot import Snapshot, VersionGone, compile_again, digest_of, take_snapshot
from accord.record import Cursor

HELD_BY_VERSION = "~version"  # no name of a system begins so
CURSOR = "versions"
COUNT_FIRST_S = 60.0  # between two counts of what is in flight, while there is an earlier version
QUIET_S = 30.0  # since an attempt on a version ended, before it can be removed: its settle must be on disk by then
COUNT_SHARE = 20  # and at least so many times as long as the last count took
ROLLING_MAX = dt.timedelta(days=1)  # how long a rolling deploy may run two versions side by side
PAGE = 500
RELEASE_PART = 500
OPEN_STATES = ("held", "waiting", "ready")  # in this order a message that is released meanwhile is not passed over


class Version(msgspec.Struct, frozen=True):
    """A version of a flow. ``snapshot``: its declarations ('' when they could not be kept). ``since``: when an engine first ran it.
    ``unclean_at``: when an engine started after one that ran it had crashed."""

    version: str
    snapshot: str
    since: dt.datetime
    unclean_at: dt.datetime | None = None


class History(msgspec.Struct, frozen=True):
    """By flow, oldest first; the last is the project's own. ``is_running``: an engine has started and not ended cleanly."""

    flows: dict[str, tuple[Version, ...]] = {}
    is_running: bool = False


class Manifest(msgspec.Struct, frozen=True):
    """Paths and digests of a snapshot's files."""

    files: dict[str, str]
    functions: dict[str, str] = {}


class InFlight(msgspec.Struct, frozen=True, kw_only=True):
    """Messages of a flow that have begun on an earlier version. ``why_not``: why that cannot run ('' when it can)."""

    flow: str
    version: str
    since: dt.datetime
    messages: int
    why_not: str = ""


class Versions:
    """``begin`` at an engine's start, ``end`` at its clean end; ``look`` for commands while none runs."""

    def __init__(self, project: Project, journal: Journal, clock: Clock, observer: Observer) -> None:
        self._project = project
        self._journal = journal
        self._clock = clock
        self._observer = observer
        self._history = History()
        self._is_shared = journal.is_shared
        self._has_begun = False
        self._compiled: dict[tuple[str, str], Flow | VersionGone] = {}
        self._running: dict[tuple[str, str], int] = {}
        self._used_at: dict[tuple[str, str], float] = {}
        self._told: set[tuple[str, str]] = set()
        self.counted: list[InFlight] = []  # as of the last count

    async def look(self) -> None:
        """Reads what the journal keeps; changes nothing."""
        raw = await self._journal.reads.cursor(CURSOR)
        self._history = msgspec.json.decode(raw, type=History) if raw else History()

    async def begin(self) -> None:
        """Keeps the declarations of today's versions, compiles the earlier ones, and lets go what waits for one that can run again."""
        await self.look()
        snapshot = take_snapshot(self._project.folder)
        cursors = self._keep(snapshot) if snapshot is not None else []
        name = _manifest_name(snapshot) if snapshot is not None else ""
        now = self._clock.now()
        flows = dict(self._history.flows)
        if self._history.is_running and not self._is_shared:
            flows = {name: _crashed(known, now) for name, known in flows.items()}
        for flow in self._project.flows.values():
            flows[flow.name] = self._with_current(flow, flows.get(flow.name, ()), name, now)
        await self._save(History(flows, is_running=True), cursors)
        self._has_begun = True
        for flow_name in self._project.flows:
            for version in self._earlier(flow_name):
                await self._compile(flow_name, version.version)
        await self.release()

    def _with_current(
        self, flow: Flow, known: tuple[Version, ...], snapshot: str, now: dt.datetime
    ) -> tuple[Version, ...]:
        same = next((one for one in known if one.version == flow.version), None)
        others = tuple(one for one in known if one.version != flow.version)
        if same is None:
            return (*others, Version(flow.version, snapshot, now))
        is_new = known[-1].version != flow.version  # the project has gone back to it
        return (*others, msgspec.structs.replace(same, snapshot=snapshot, since=now if is_new else same.since))

    async def end(self) -> None:
        """After every attempt has settled: what is not stamped has not begun."""
        if self._has_begun:
            await self._save(msgspec.structs.replace(self._history, is_running=False), [])

    # which flow runs a message

    async def flow_of(self, lease: Lease, current: Flow) -> Flow | VersionGone:
        """The flow as the message began it. For messages with results or recovered ones; others run on ``current``."""
        version = self._version_of(
            lease.message.flow, lease.results, lease.message.time, is_recovered=lease.is_recovered
        )
        if version in ("", current.version):
            return current
        self._used_at[lease.message.flow, version] = self._clock.monotonic()
        found = await self._compile(lease.message.flow, version)
        if isinstance(found, VersionGone) and (lease.message.flow, version) not in self._told:
            self._told.add((lease.message.flow, version))
            self._observer.emit(VersionHeld(flow=lease.message.flow, version=version, reason=str(found)))
        return found

    def began(self, flow: Flow) -> None:
        """An attempt begins on an earlier version."""
        name = flow.name, flow.version
        self._running[name] = self._running.get(name, 0) + 1

    def ended(self, flow: Flow) -> None:
        name = flow.name, flow.version
        self._running[name] -= 1
        self._used_at[name] = self._clock.monotonic()

    def effects_of(self, flow: str, version: str) -> tuple[EffectInfo, ...]:
        """Of a version, as far as it is known."""
        found = self._compiled.get((flow, version))
        compiled = found.flow if isinstance(found, VersionGone) else found
        return compiled.effects if compiled is not None else ()

    def version_of_row(self, row: MessageRow) -> str:
        """'' for a message that has not begun. An open message of before the last start counts as recovered."""
        return self._version_of(row.message.flow, row.results, row.message.time, is_recovered=not self._is_shared)

    def _version_of(self, flow: str, results: Mapping[str, bytes], accepted: dt.datetime, *, is_recovered: bool) -> str:
        if (raw := results.get(VERSION_PATH)) is not None:
            stamp = msgspec.json.decode(raw, type=Stamp)
            return "" if stamp.is_settled else stamp.version
        if not is_recovered:
            return ""
        known = self._history.flows.get(flow, ())
        if self._is_shared:  # its last owner was lost: it may have run what was current before
            return known[-2].version if len(known) > 1 and accepted < known[-1].since else ""
        return next((v.version for v in known if v.unclean_at is not None and accepted < v.unclean_at), "")

    async def _compile(self, flow: str, version: str) -> Flow | VersionGone:
        if (found := self._compiled.get((flow, version))) is None:
            found = await self._compile_kept(flow, version)
            self._compiled[flow, version] = found
        return found

    async def _compile_kept(self, flow: str, version: str) -> Flow | VersionGone:
        known = next((one for one in self._history.flows.get(flow, ()) if one.version == version), None)
        if known is None:  # another engine on the same journal may have brought it
            await self.look()
            known = next((one for one in self._history.flows.get(flow, ()) if one.version == version), None)
        if known is None or not known.snapshot:
            return VersionGone("Its declarations were not kept.")
        raw = await self._journal.reads.cursor(f"snapshot:{known.snapshot}")
        if not raw:
            return VersionGone("Its declarations were not kept.")
        manifest = msgspec.json.decode(raw, type=Manifest)
        files: dict[str, bytes] = {}
        for path, digest in manifest.files.items():
            content = await self._journal.reads.cursor(f"snapshot-file:{digest}")
            if content:
                files[path] = zlib.decompress(content)
        try:
            compiled = compile_again(Snapshot(files, manifest.functions), flow, self._project)
        except VersionGone as gone:
            return gone
        compiled.version = version  # an Accord of another release may count it anew; the messages' stamps do not change
        return compiled

    # what is kept

    def _keep(self, snapshot: Snapshot) -> list[Cursor]:
        """The cursors for what the journal does not have yet: nothing when no declaration has changed."""
        name = _manifest_name(snapshot)
        if any(one.snapshot == name for known in self._history.flows.values() for one in known):
            return []
        digests = snapshot.digests
        manifest = Manifest(digests, dict(snapshot.functions))
        return [
            *(
                Cursor(f"snapshot-file:{digests[path]}", zlib.compress(content))
                for path, content in snapshot.files.items()
            ),
            Cursor(f"snapshot:{name}", msgspec.json.encode(manifest)),
        ]

    def _earlier(self, flow: str) -> tuple[Version, ...]:
        return self._history.flows.get(flow, ())[:-1]

    async def _save(self, history: History, cursors: list[Cursor]) -> None:
        await self._journal.submit(SaveCursors((*cursors, Cursor(CURSOR, msgspec.json.encode(history)))))
        self._history = history

    async def release(self) -> bool:
        """Messages held for their version try again; those whose version still cannot run are held again. True when there were some:
        queues that run already have to read them."""
        found = count = (await self._journal.reads.held()).get(HELD_BY_VERSION, 0)
        while count > 0:
            released = await self._journal.submit(ReleaseHeld(HELD_BY_VERSION, RELEASE_PART))
            count -= len(released) or count
        return found > 0

    # what is in flight

    async def count(self, today: Mapping[str, str] | None = None) -> list[InFlight]:
        """Reads every open message of flows with earlier versions; for a flow's own version nothing has to be read. A message that
        moves from one state to another meanwhile may be counted twice. ``today``: versions by flow, of a project not deployed yet."""
        found: list[InFlight] = []
        for flow in self._history.flows:
            current = self._project.flows.get(flow)
            wanted = today.get(flow, "") if today is not None else current.version if current is not None else ""
            earlier = [one for one in self._history.flows[flow] if one.version != wanted]
            if not earlier:
                continue
            counts = await self._count_of(flow)
            for one in earlier:
                gone = self._compiled.get((flow, one.version))
                why_not = str(gone) if isinstance(gone, VersionGone) else ""
                if current is None:
                    why_not = "the project has no flow of this name"
                in_flight = InFlight(
                    flow=flow,
                    version=one.version,
                    since=one.since,
                    messages=counts.get(one.version, 0),
                    why_not=why_not,
                )
                found.append(in_flight)
        if today is None:
            self.counted = [one for one in found if one.messages]
        return found

    async def _count_of(self, flow: str) -> dict[str, int]:
        counts: dict[str, int] = {}
        for state in OPEN_STATES:
            after = 0
            while rows := await self._journal.reads.messages(
                MessageQuery(flow=flow, state=state, after_seq=after, limit=PAGE)
            ):
                for row in rows:
                    version = self.version_of_row(row)
                    counts[version] = counts.get(version, 0) + 1
                after = rows[-1].seq
        return counts

    async def tidy_forever(self) -> None:
        """Counts, and removes versions no open message needs. Until cancelled."""
        while True:
            started = self._clock.monotonic()
            try:
                await self.tidy()
            except JournalError:
                await self._clock.sleep(JOURNAL_RETRY_S)
                continue
            took_s = self._clock.monotonic() - started
            await self._clock.sleep(max(COUNT_FIRST_S, COUNT_SHARE * took_s))

    async def tidy(self) -> None:
        """A message that parks while it is counted may be passed over: so no version is removed that ran a moment ago."""
        found = await self.count()
        unused = {
            (one.flow, one.version) for one in found if not one.messages and self._is_quiet((one.flow, one.version))
        }
        if self._is_shared:
            await self.look()  # another engine may have written it since
            unused = {one for one in unused if self._is_long_gone(*one)}
        if not unused:
            return
        before = {one.snapshot for known in self._history.flows.values() for one in known}
        flows = {
            flow: tuple(one for one in known if (flow, one.version) not in unused)
            for flow, known in self._history.flows.items()
        }
        flows = {flow: known for flow, known in flows.items() if known}
        after = {one.snapshot for known in flows.values() for one in known}
        removed = await self._no_longer_needed(before - after - {""}, after - {""})
        await self._save(msgspec.structs.replace(self._history, flows=flows), removed)
        for name in unused:
            self._compiled.pop(name, None)

    def _is_quiet(self, name: tuple[str, str]) -> bool:
        if self._running.get(name):
            return False
        used_at = self._used_at.get(name)
        return used_at is None or self._clock.monotonic() - used_at > QUIET_S

    def _is_long_gone(self, flow: str, version: str) -> bool:
        """Whether no other engine can still be running a version: it was followed by another one long enough ago."""
        known = self._history.flows.get(flow, ())
        later = [b.since for a, b in itertools.pairwise(known) if a.version == version]
        return bool(later) and self._clock.now() - later[0] > ROLLING_MAX

    async def _no_longer_needed(self, gone: set[str], kept: set[str]) -> list[Cursor]:
        """Empty cursors in the place of snapshots and of files no other snapshot has."""
        still = {digest for name in kept for digest in await self._files_of(name)}
        files = {digest for name in gone for digest in await self._files_of(name)} - still
        names = [f"snapshot:{name}" for name in gone] + [f"snapshot-file:{digest}" for digest in files]
        return [Cursor(name, b"") for name in sorted(names)]

    async def _files_of(self, snapshot: str) -> set[str]:
        raw = await self._journal.reads.cursor(f"snapshot:{snapshot}")
        return set(msgspec.json.decode(raw, type=Manifest).files.values()) if raw else set()


def _crashed(known: tuple[Version, ...], now: dt.datetime) -> tuple[Version, ...]:
    return (*known[:-1], msgspec.structs.replace(known[-1], unclean_at=now))


def held_for_version(lease: Lease, gone: VersionGone) -> Settle:
    """Nothing of the message changes but that it waits for an operator or another project."""
    return Settle(
        seq=lease.seq,
        state=State.HELD,
        attempts=lease.attempts,
        held_by=HELD_BY_VERSION,
        in_doubt=tuple(lease.in_doubt),
        reason=f"the version of the flow it began with cannot run: {gone}"[:REASON_LENGTH_MAX],
    )


def _manifest_name(snapshot: Snapshot) -> str:
    return digest_of(msgspec.json.encode([sorted(snapshot.digests.items()), sorted(snapshot.functions.items())]))
