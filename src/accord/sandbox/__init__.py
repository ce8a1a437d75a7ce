"""Stateful stand-ins for business systems over real protocols: for demo, learning and tests.

Receives: HTTP, SQL and SMTP from outside, faults from its owner.  Hands on: answers, webhooks, mails, kept state.
Never: is imported by another room than its own command, talks to a real vendor, shares a process with another system.

    with Sandbox(folder, systems=("inventory", "shipping"), seed=7) as sandbox:
        sandbox.fault("shipping", lose_answers=0.2)
"""

from accord.sandbox.control import SandboxError
from accord.sandbox.launcher import SYSTEMS, Sandbox

__all__ = ["SYSTEMS", "Sandbox", "SandboxError"]
