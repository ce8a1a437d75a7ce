"""A flow's queue whose messages are those of some parts only, and not always the same ones.

Beside the invariants of ``engine.dispatch``:

- Only messages of parts in ``running`` start; of others none is in memory but those that run already.
- ``open_count`` counts the open messages of all parts from ``gained`` to ``lost``. Both are told a count read from the journal while
  nothing of these parts could be accepted or settled by anybody.
- So *direct* still means that nothing open of a running part is outside memory: what of another part is outside counts as
  open, and keeps the queue from being found direct until that part is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Set as AbstractSet

from accord.engine.dispatch import WINDOW, FlowQueue, RunOne
from accord.journal.group import Journal
from accord.journal.operations import Lease, State
from accord.journal.shared import part_of


class PartedQueue(FlowQueue):
    """``running`` is the owner's and changes under way. ``on_gone`` is called whenever a key has left memory."""

    def __init__(
        self,
        flow: str,
        journal: Journal,
        run: RunOne,
        on_parked: Callable[[State], None],
        *,
        running: AbstractSet[int],
        on_gone: Callable[[], None],
        window: int = WINDOW,
    ) -> None:
        super().__init__(flow, journal, run, on_parked, window=window)
        self._parts = running
        self._on_gone = on_gone
        self._has_passed_over = False

    def gained(self, open_count: int) -> None:
        """Parts with so many open messages run here from now on."""
        self._open += open_count
        if open_count:
            self._read_again()

    def shed(self) -> None:
        """Some parts run here no more: what of them waits in memory leaves it."""
        for key, followers in self._keys.items():
            if not self._is_ours(key):
                self._forget(followers)

    def resumed(self) -> None:
        """What was shed runs here after all."""
        self._read_again()

    def lost(self, open_count: int) -> None:
        """Parts that run here no more, with so many open messages, none of them in memory, are another's."""
        self._open -= open_count
        self._schedule_pump()

    def parts_in_memory(self) -> set[int]:
        return {part_of(self.flow, key) for key in self._keys}

    def _is_ours(self, key: str) -> bool:
        return part_of(self.flow, key) in self._parts

    def _push(self, lease: Lease) -> None:
        if self._is_ours(lease.message.key):
            super()._push(lease)
        else:
            self._has_passed_over = True

    def _drop(self, key: str) -> None:
        super()._drop(key)
        self._on_gone()

    async def _read_back(self) -> None:
        self._has_passed_over = False
        await super()._read_back()
        if self._has_passed_over:
            self._schedule_pump()  # nothing of it will end here, and so make the scan go on
