from __future__ import annotations

import gc

from accord.engine.collector import calm_collector


def test_what_is_loaded_is_left_alone():
    before = gc.get_threshold()
    try:
        calm_collector()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold() == before
        assert gc.isenabled()
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
