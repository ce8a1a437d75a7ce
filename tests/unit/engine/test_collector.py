from __future__ import annotations

import gc

from accord.engine.collector import YOUNG_MAX, calm_collector


def test_what_is_loaded_is_left_alone_and_the_young_are_looked_at_seldom():
    before = gc.get_threshold()
    try:
        calm_collector()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold() == (YOUNG_MAX, *before[1:])
        assert gc.isenabled()
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
