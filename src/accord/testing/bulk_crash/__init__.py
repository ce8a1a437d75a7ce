"""The crash laboratory of bulk loads: `accord bulk run` is killed in the middle, run again to its end, and every row is counted.

Receives: how many kills, which targets.  Hands on: rows lost, rows twice, wrong rejects per target and mode.  Never: mends it.
"""

from accord.testing.bulk_crash.laboratory import Report, run_laboratory
from accord.testing.bulk_crash.loads import Cell, Plan
from accord.testing.bulk_crash.targets import Target, targets_of

__all__ = ["Cell", "Plan", "Report", "Target", "run_laboratory", "targets_of"]
