"""The only place that wires and runs: intake, dispatch, delivery, polling, timers, supervision.

Receives: requests, records, timers.  Hands on: journal commits, effects on systems, answers.  Never: is imported by rooms below.
"""
