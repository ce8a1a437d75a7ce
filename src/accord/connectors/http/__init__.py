"""Any REST/JSON API, described by a manifest in YAML.

Receives: settings and entities of a system file.  Hands on: records, outcomes, events.  Never: knows one API by name.
"""

from accord.connectors.http.kind import HttpKind

CONNECTOR = HttpKind()

__all__ = ["CONNECTOR", "HttpKind"]
