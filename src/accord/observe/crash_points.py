"""Named points at which a test kills this process as a power cut would: one at every transition of a message's way.

Nothing happens unless the environment variable ``ACCORD_CRASH`` named a point when this module was first imported, as
``<point>`` or ``<point>:<n>``: then the process sends itself SIGKILL on the n-th pass. Off, a point costs one comparison.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable, Mapping

from accord.errors import SettingsError, did_you_mean

VARIABLE = "ACCORD_CRASH"
SOON_MS_MAX = 3.0  # a request over loopback is on its way for about so long

POINTS: Mapping[str, str] = {
    "start.journal-open": "the journal is open, no message runs yet",
    "start.connected": "systems are connected, no message runs yet",
    "migrate.statement": "in the middle of a migration's transaction",
    "migrate.before-commit": "a migration is done but not committed",
    "migrate.after-commit": "a migration is committed, the next one is not begun",
    "accept.before-commit": "messages arrived, nothing of them is in the journal",
    "accept.after-commit": "messages are in the journal, no queue knows of them",
    "accept.before-answer": "messages are in the journal, the sender has not heard so",
    "commit.begun": "a group's transaction is open",
    "commit.applied": "one operation of a group is applied, others may follow",
    "commit.before-sync": "a group is applied whole, its commit has not begun",
    "commit.after-sync": "a group is on disk, nobody has been told",
    "checkpoint.before": "the log is about to be copied into the journal's file",
    "checkpoint.copying": "a thread copies the log while commits go on",
    "checkpoint.after": "the log has been copied and is about to start again",
    "send.before": "an effect is about to be sent",
    "send.under-way": "an effect is on its way, at some moment before its answer",
    "send.answered": "the answer has come, nobody has seen it",
    "save.before-commit": "an effect is done, its result is not in the journal, the next effect waits for that",
    "save.after-commit": "an effect's result is in the journal, the next effect has not begun",
    "settle.before-commit": "a message's last effect is done, the message is not settled",
    "settle.after-commit": "a message is settled, its key's next one has not begun",
    "park.after-commit": "a message that waits or is held is in the journal so",
    "release.before-commit": "waiting or held messages are about to become ready",
    "release.after-commit": "messages are ready again, no queue knows of them",
    "undo.before": "a message is given up, nothing is taken back yet",
    "undo.between": "one effect is taken back, others are not",
    "undo.after": "every effect is taken back, the message is not dead yet",
    "bulk.noted": "a chunk and its rejects are in the journal, no target has heard of it",
    "bulk.before-write": "a chunk is mapped, its target has not heard of it",
    "bulk.after-write": "a target has a chunk, the journal does not know",
    "bulk.before-checkpoint": "every target has a chunk, what they refused and its position are not in the journal",
    "bulk.after-checkpoint": "a chunk's rejects and position are in the journal",
    "bulk.before-finish": "every chunk is written, nothing staged is shown",
    "bulk.after-finish": "a load is finished, its run is not",
    "snapshot.before-put": "the state is copied, the object store has nothing of it",
    "snapshot.after-put": "a snapshot is in the object store, the log is not trimmed behind the other",
    "snapshot.before-trim": "both snapshots were seen to be whole, the log is about to be trimmed",
    "snapshot.after-trim": "the log is trimmed behind the older snapshot",
    "drain.begun": "the engine was told to stop and takes nothing more",
    "drain.drained": "running messages have settled or were cut off",
    "drain.closed": "the journal is closed, the process is about to end",
}

_armed: Callable[[str], None] | None = None


def crash_point(name: str) -> None:
    """The process may end here; at ``send.under-way`` within the next milliseconds, while what follows runs."""
    if _armed is not None:
        _armed(name)


def arm(text: str, kill: Callable[[], None] | None = None) -> None:
    """Takes ``<point>[:<n>]``; '' disarms. ``kill`` stands in for SIGKILL. Raises SettingsError for a point that is not there."""
    global _armed
    if not text:
        _armed = None
        return
    name, _, count = text.partition(":")
    if name not in POINTS or not (count or "1").isdigit():
        mend = did_you_mean(name, POINTS) if name not in POINTS else "Write it like send.before:3."
        raise SettingsError(f"{VARIABLE} names no crash point: '{text}'.", mend=mend, code="settings.crash-point")
    _armed = _Trap(name, int(count or "1"), kill or _kill)


class _Trap:
    def __init__(self, name: str, passes: int, kill: Callable[[], None]) -> None:
        self._name = name
        self._left = passes
        self._kill = kill

    def __call__(self, name: str) -> None:
        if name != self._name:
            return
        self._left -= 1
        if self._left == 0:
            if name == "send.under-way":
                threading.Timer(random.uniform(0.0, SOON_MS_MAX) / 1000, self._kill).start()
            else:
                self._kill()


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


arm(os.environ.get(VARIABLE, ""))
