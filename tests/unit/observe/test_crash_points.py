"""Crash points: armed by name and pass, all of them in the code, nothing when off."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import accord
from accord.errors import SettingsError
from accord.observe import crash_points
from accord.observe.crash_points import POINTS, VARIABLE, arm, crash_point


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    arm("")


def test_every_point_is_passed_somewhere_and_every_passed_one_is_known() -> None:
    room = Path(accord.__file__).parent
    passed = {
        name for path in room.rglob("*.py") for name in re.findall(r'crash_point\("([^"]+)"\)', path.read_text("utf-8"))
    }
    assert passed == set(POINTS)


def test_it_ends_on_the_pass_that_was_named_and_nowhere_else() -> None:
    ends: list[str] = []
    arm("send.before:3", lambda: ends.append("end"))
    for _ in range(2):
        crash_point("send.before")
        crash_point("send.answered")
    assert not ends
    crash_point("send.before")
    assert ends == ["end"]


def test_disarmed_it_does_nothing() -> None:
    arm("send.before:1", lambda: pytest.fail("ended"))
    arm("")
    crash_point("send.before")
    assert crash_points._armed is None


@pytest.mark.parametrize("text", ["send.befor", "send.before:x", "send.before:-1"])
def test_what_is_no_point_is_told(text: str) -> None:
    with pytest.raises(SettingsError, match="names no crash point"):
        arm(text)


def test_the_variable_arms_a_new_process_which_then_kills_itself() -> None:
    code = (
        "from accord.observe.crash_points import crash_point\ncrash_point('send.before')\nprint('lived', flush=True)\n"
        * 2
    )
    environment = {**os.environ, VARIABLE: "send.before:2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout == "lived\n"
