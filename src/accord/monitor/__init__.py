"""The monitor: pages on which an operator sees what flows, what waits and what failed, and acts.

Receives: HTTP requests.  Hands on: pages, and commands to the engine's control.  Never: reads or changes anything past the control.
"""

from accord.monitor.site import Monitor, monitor_of

__all__ = ["Monitor", "monitor_of"]
