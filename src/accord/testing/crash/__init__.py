"""The crash laboratory: an engine under load is killed at every crash point and at random, then every effect is counted.

Receives: how many kills and messages.  Hands on: lost, duplicated and out of order per target and guarantee.  Never: mends what it finds.
"""

from accord.testing.crash.counts import Tally, tally
from accord.testing.crash.laboratory import Report, run_laboratory
from accord.testing.crash.lane import Lane, Plan

__all__ = ["Lane", "Plan", "Report", "Tally", "run_laboratory", "tally"]
