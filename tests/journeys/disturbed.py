"""People who change a table while its reader is killed and its server restarted."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from journeys.live import Live


def disturb(
    live: Live,
    database: Any,
    people: Sequence[Any],
    changes: int,
    disturbances: Sequence[str],
    look: Callable[[], None] = lambda: None,
) -> None:
    """Until the people have done their ``changes``; between them, evenly spread, each disturbance: ``kill`` the reader, else restart the
    database. ``look`` is asked before each."""
    for one in people:
        one.start()
    for number, what in enumerate(disturbances, start=1):
        share = number / (len(disturbances) + 1)
        while sum(one.done for one in people) < changes * share and all(one.failure is None for one in people):
            time.sleep(0.02)  # the moment is told by the work done
        look()
        if what == "kill":
            live.restart()
        else:
            database.stop()
            database.start()
    for one in people:
        one.join()
        assert one.failure is None
