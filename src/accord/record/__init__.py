"""What travels: types, entities, messages, outcomes.

Receives: nothing.  Hands on: frozen values every room shares.  Never: does I/O.
"""

from accord.record.entity import Entity, Rule
from accord.record.message import Cursor, Message
from accord.record.outcome import Done, End, Outcome, Partial, Reconnect, Reject, Retry
from accord.record.types import Field, Object, Type, name_of

__all__ = [
    "Cursor",
    "Done",
    "End",
    "Entity",
    "Field",
    "Message",
    "Object",
    "Outcome",
    "Partial",
    "Reconnect",
    "Reject",
    "Retry",
    "Rule",
    "Type",
    "name_of",
]
