"""Forked processes: born with what the parent has loaded, gone when it is gone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import NoReturn

from accord.errors import AccordError

FAILED = 1
_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1  # prctl(2): the signal this process gets when its parent ends


def fork(work: Callable[[], None], *, closing: Iterable[int]) -> int:
    """Runs ``work`` in a new process, which closes these descriptors of its parent's first. Returns its pid.

    The caller must have one thread only. Where the system can (Linux), the new process is killed when the caller ends. It ignores
    SIGINT, which a terminal sends to all: its parent says when to stop.
    """
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, _SIGNALS
    )  # none may meet the parent's handlers in the new process
    pid = os.fork()
    if pid == 0:
        _run(work, closing, parent, before)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return pid


def _run(work: Callable[[], None], closing: Iterable[int], parent: int, mask: set[int | signal.Signals]) -> NoReturn:
    status = FAILED
    try:
        _be_child_of(parent, mask)
        for descriptor in closing:
            os.close(descriptor)
        work()
        status = 0
    except AccordError as error:
        sys.stderr.write(f"{error}\n")
    except BaseException:  # noqa: BLE001 (told; nothing of the parent's code may run in this process)
        traceback.print_exc()
    finally:
        _end(status)


def _end(status: int) -> NoReturn:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _be_child_of(parent: int, mask: set[int | signal.Signals]) -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before it was watched
        os._exit(FAILED)
