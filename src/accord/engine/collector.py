"""The garbage collector of a process that runs for months."""

from __future__ import annotations

import gc


def calm_collector() -> None:
    """What is loaded by now stays for good and is not looked at again (nor written to, so forked processes share it); messages end by
    reference count, so cycles are rare."""
    gc.collect()
    gc.freeze()
