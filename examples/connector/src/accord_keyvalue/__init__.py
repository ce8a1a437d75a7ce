"""A key-value store over HTTP as a system of Accord.

Receives: settings with an address.  Hands on: entries and outcomes.  Never: needs a change in Accord.
"""

from accord_keyvalue.kind import CONNECTOR, KeyValueSettings

__all__ = ["CONNECTOR", "KeyValueSettings"]
