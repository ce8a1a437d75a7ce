"""The events. Each is a frozen value with a fixed name; its level says what an operator must do:

``error`` act now · ``warning`` act soon, it may heal by itself · ``info`` worth knowing · ``debug`` for the curious.
"""

from __future__ import annotations

import enum
from typing import ClassVar

import msgspec


class Level(enum.IntEnum):
    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Fields hold names, numbers and masked reasons only; never payloads or secrets."""

    name: ClassVar[str] = "event"
    level: ClassVar[Level] = Level.INFO


class EngineReady(Event, frozen=True):
    name = "engine.ready"
    address: str
    flows: int
    systems: int
    open_messages: int


class EngineStopping(Event, frozen=True):
    name = "engine.stopping"
    in_flight: int


class EngineStopped(Event, frozen=True):
    name = "engine.stopped"
    open_messages: int


class WorkersStarted(Event, frozen=True):
    """The first worker is ready, the others follow."""

    name = "workers.started"
    workers: int


class WorkerEnded(Event, frozen=True):
    """Negative ``status``: the signal that ended it. What it was doing, others do."""

    name = "worker.ended"
    level = Level.WARNING
    worker: int
    pid: int
    status: int
    restart_in_s: float


class WriterEnded(Event, frozen=True):
    """The process that writes the journal has ended, and its workers with it; all begin anew."""

    name = "writer.ended"
    level = Level.ERROR
    status: int
    restart_in_s: float


class MessageDead(Event, frozen=True):
    name = "message.dead"
    level = Level.WARNING
    flow: str
    message: str
    step: str
    code: str
    reason: str
    trace: str = ""


class FlowNote(Event, frozen=True):
    """A `log` step."""

    name = "flow.note"
    flow: str
    message: str
    text: str
    trace: str = ""


class FlowWarning(FlowNote, frozen=True):
    name = "flow.warning"
    level = Level.WARNING


class FlowDefect(Event, frozen=True):
    """A step or connector raised something it must not: a defect to report."""

    name = "flow.defect"
    level = Level.ERROR
    flow: str
    message: str
    step: str
    error: str
    trace: str = ""


class FlowMissing(Event, frozen=True):
    """The journal holds open messages of a flow the project does not have: they wait until it has it again."""

    name = "flow.missing"
    level = Level.WARNING
    flow: str
    open_messages: int


class VersionHeld(Event, frozen=True):
    """Messages began on a version of their flow that cannot run any more: they are held until an operator decides."""

    name = "version.held"
    level = Level.WARNING
    flow: str
    version: str
    reason: str


class PartFailed(Event, frozen=True):
    """A timer, reader or other part of the engine broke and begins again."""

    name = "engine.part-failed"
    level = Level.ERROR
    part: str
    error: str


class MemberJoined(Event, frozen=True):
    """Another engine works on this journal from now on."""

    name = "member.joined"
    member: str


class MemberGone(Event, frozen=True):
    """Another engine has left, or its lease has ended."""

    name = "member.gone"
    member: str


class MemberFenced(Event, frozen=True):
    """This engine was silent for too long: others have its parts. It stops at once and must be started again."""

    name = "member.fenced"
    level = Level.ERROR
    reason: str


class PartsGained(Event, frozen=True):
    """Parts of the journal whose messages run here from now on; ``owned``: how many there are now."""

    name = "parts.gained"
    parts: int
    owned: int


class PartsGiven(Event, frozen=True):
    """Parts of the journal that are another member's from now on."""

    name = "parts.given"
    parts: int
    to: str


class RequestDefect(Event, frozen=True):
    """The control API failed unexpectedly: a defect to report."""

    name = "request.defect"
    level = Level.ERROR
    path: str
    error: str


class SystemSick(Event, frozen=True):
    name = "system.sick"
    level = Level.WARNING
    system: str
    reason: str
    retry_in_s: float


class SystemWell(Event, frozen=True):
    name = "system.well"
    system: str


class SystemThrottled(Event, frozen=True):
    name = "system.throttled"
    system: str
    for_s: float


class SystemConcurrency(Event, frozen=True):
    """The number of requests a system is given at once was halved or doubled since it was told last."""

    name = "system.concurrency"
    system: str
    limit: int
    was: int


class SystemBudgetUsedUp(Event, frozen=True):
    """What the system told it takes in this window is used up: messages wait for the next one, and it did not have to refuse any."""

    name = "system.budget-used-up"
    system: str
    for_s: float


class BacklogFull(Event, frozen=True):
    """A system's webhooks are refused because too many of its messages are open: look at what its flows wait for."""

    name = "intake.backlog-full"
    level = Level.WARNING
    system: str
    open: int
    backlog_max: int


class HookRefused(Event, frozen=True):
    name = "hook.refused"
    level = Level.WARNING
    system: str
    status: int
    reason: str


class ReadStopped(Event, frozen=True):
    """A poll or file read stopped before its end; it is repeated."""

    name = "read.stopped"
    level = Level.WARNING
    flow: str
    entity: str
    reason: str
    retry_in_s: float


class BulkRunEnded(Event, frozen=True):
    """Everything was read and loaded."""

    name = "bulk.ended"
    flow: str
    run: str
    rows: int
    rejected: int
    seconds: float


class BulkSourceChanged(Event, frozen=True):
    """A bulk run's source has other columns than the last run saw; `accord bulk show` says which, and what they touch."""

    name = "bulk.source-changed"
    level = Level.WARNING
    flow: str
    run: str
    changes: int


class BulkQuality(Event, frozen=True):
    """The data of a bulk run differs suddenly from the last runs'; `accord bulk show` says where."""

    name = "bulk.quality"
    level = Level.WARNING
    flow: str
    run: str
    findings: int


class BulkRunStopped(Event, frozen=True):
    """A bulk run stopped before its end; `accord bulk resume` takes it up."""

    name = "bulk.stopped"
    level = Level.WARNING
    flow: str
    run: str
    rows: int
    reason: str


class ChangesBehind(Event, frozen=True):
    """A database keeps more of its log for a stream of changes than `lag_max` allows: its disk may fill."""

    name = "changes.behind"
    level = Level.WARNING
    system: str
    retained_bytes: int


class ChangesCaughtUp(Event, frozen=True):
    name = "changes.caught-up"
    system: str
    retained_bytes: int


class ChangesNotice(Event, frozen=True):
    """Something about captured tables that is no change of a row: columns that came or went, a truncate, a slot begun anew."""

    name = "changes.notice"
    level = Level.WARNING
    system: str
    notice: str


class JournalRefused(Event, frozen=True):
    """The journal could not commit (disk full, I/O error): nothing of the group was accepted."""

    name = "journal.refused"
    level = Level.ERROR
    reason: str


class JournalStandsBy(Event, frozen=True):
    """Another engine has the journal. This one follows it, and takes it over when nothing was heard of the other for a while."""

    name = "journal.stands-by"
    owner: str


class JournalTaken(Event, frozen=True):
    """This engine has the journal now."""

    name = "journal.taken"


class JournalLost(Event, frozen=True):
    """Another engine has taken the journal over: this one can commit nothing any more, and ends."""

    name = "journal.lost"
    level = Level.ERROR
    owner: str


class JournalAway(Event, frozen=True):
    """The journal's servers cannot be written to: nothing is accepted until they can."""

    name = "journal.away"
    level = Level.WARNING
    reason: str


class SnapshotFailed(Event, frozen=True):
    """No snapshot of the journal's state could be made: the log grows until one can. It is tried again."""

    name = "journal.no-snapshot"
    level = Level.WARNING
    reason: str


class JournalBack(Event, frozen=True):
    name = "journal.back"


class SubscriptionFailed(Event, frozen=True):
    name = "subscription.failed"
    level = Level.WARNING
    system: str
    reason: str


class TelemetryNotSent(Event, frozen=True):
    """Traces could not be sent, or are dropped because too many wait; ``part``: of the library."""

    name = "telemetry.not-sent"
    level = Level.WARNING
    part: str


class AlertFiring(Event, frozen=True):
    """The condition of a declared alert holds, for as long as it says."""

    name = "alert.firing"
    level = Level.WARNING
    alert: str
    subject: str
    severity: str
    text: str


class AlertOver(Event, frozen=True):
    name = "alert.over"
    alert: str
    subject: str


class NoticeNotSent(Event, frozen=True):
    """A channel did not take a notice of alerts; it is tried again."""

    name = "alert.notice-not-sent"
    level = Level.WARNING
    channel: str
    reason: str
    retry_in_s: float


class NoticeDropped(Event, frozen=True):
    """A notice of alerts is given up: its channel took none for a day, is not declared any more, or too many wait."""

    name = "alert.notice-dropped"
    level = Level.ERROR
    channel: str


class OperatorActed(Event, frozen=True):
    """Somebody did something, or tried to, on a page of the monitor or over the control API."""

    name = "operator.acted"
    actor: str
    what: str
    result: str
    address: str = ""


class AuditUnwritten(Event, frozen=True):
    """Somebody did something that the audit trail could not keep (disk full, file damaged)."""

    name = "audit.unwritten"
    level = Level.ERROR
    actor: str
    what: str
    error: str
