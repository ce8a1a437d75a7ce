"""How `accord status` tells what a system takes."""

from __future__ import annotations

from typing import Any

import pytest

from accord.cli.status import _health, _left

WELL: dict[str, Any] = {"paused": None, "is_well": True, "pause_s": 0.0, "throttled_since": None, "wait_s": 0.0}


@pytest.mark.parametrize(
    ("budgets", "shown"),
    [
        ([], ""),
        ([{"name": "n", "left": 12.0, "limit": 100.0, "resets_in_s": 8.5}], "12 of 100 for 8.5 s"),
        ([{"name": "n", "left": 7.0, "limit": None, "resets_in_s": None}], "7"),
        (
            [
                {"name": "burst", "left": 9.0, "limit": 10.0, "resets_in_s": 1.0},
                {"name": "day", "left": 90.0, "limit": 5000.0, "resets_in_s": None},
            ],
            "90 of 5000",
        ),
    ],
)
def test_the_budget_nearest_to_its_end_is_shown(budgets: list[dict[str, Any]], shown: str) -> None:
    assert _left({"budgets": budgets}) == shown


def test_a_throttled_system_is_told_since_when() -> None:
    throttled = {**WELL, "pause_s": 4.2, "throttled_since": "2026-11-22T21:30:05.1Z"}
    assert _health(throttled, is_running=True) == "throttled since 21:30:05, for 4.2 s more"
    assert _health(WELL, is_running=True) == "well"
