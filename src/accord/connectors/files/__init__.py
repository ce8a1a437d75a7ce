"""Files in folders as a system: CSV, JSON, JSON Lines, XML, fixed-width, Excel.

Receives: folders in which files arrive, records to write.  Hands on: records with file and row, moved files.  Never: leaves its folder.
"""

from accord.connectors.files.kind import FilesKind

CONNECTOR = FilesKind()

__all__ = ["CONNECTOR"]
