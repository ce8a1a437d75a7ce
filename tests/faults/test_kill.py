"""The process is killed at random moments under load: nothing lost, nothing twice, in any system."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path

import pytest
from agreement import agreement
from stage import Stage

KILLS = 50
ORDERS_PER_KILL = 12


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("load")
def test_fifty_kills_under_load_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    chance = random.Random(11)
    settings = {"shipping": {"dispatch_after_s": 0.5, "deliver_after_s": 600}}
    with Stage(tmp_path / "stage", settings=settings) as stage:
        stop = threading.Event()
        placed = 0

        def place() -> None:
            nonlocal placed
            while not stop.is_set() and placed < KILLS * ORDERS_PER_KILL:
                stage.sandbox.place_orders(5)
                placed += 5
                stop.wait(0.1)

        customers = threading.Thread(target=place)
        customers.start()
        try:
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.0, 0.8))  # the moment of the kill is what is random here
                stage.kill_accord()
                stage.start_accord()
        finally:
            stop.set()
            customers.join()
        stage.wait_until(lambda: agreement(stage.sandbox).is_reached, "all systems agree", within_s=240)
        found = agreement(stage.sandbox)
        assert found.paid > KILLS
        assert found.is_reached
        stage.stop_accord()
        verified = stage.run("journal", "verify")
        assert verified.returncode == 0, verified.stdout
