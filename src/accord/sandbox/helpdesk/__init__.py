"""Helpdesk stand-in: tickets and replies; signed webhooks tell of them, and what they are answered is shown beside the ticket.

Receives: HTTP with an API key.  Hands on: tickets, signed webhooks.  Never: waits for an answer when a ticket is made.
"""

from accord.sandbox.helpdesk.system import Helpdesk

SYSTEM = Helpdesk
