"""Named typed events: the one way to log and count.

Receives: events.  Hands on: log lines and counters.  Never: shows secrets or personal data (events hold none).
"""

from accord.observe.events import Event, Level
from accord.observe.metrics import Metrics
from accord.observe.observer import Observer

__all__ = ["Event", "Level", "Metrics", "Observer"]
