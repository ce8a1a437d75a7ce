"""Files that are not the ones any more that a load began to read: their rows would be missing, or be there twice."""

from __future__ import annotations

from collections.abc import Iterable

from accord.connectors.files.folder import Arrived, identity_of
from accord.connectors.files.source import Position
from accord.record import Reject

_CODE = "connector.files-changed"
_MEND = "put the file back as it was, with its time, or begin anew with --fresh"


class Changed(Exception):
    """``reject`` says which file."""

    def __init__(self, reject: Reject) -> None:
        super().__init__(reject.reason)
        self.reject = reject


def check_unchanged(file: Arrived) -> None:
    """After rows of it have been read. Raises Changed when it was shortened, written to or replaced meanwhile."""
    status = file.path.stat()
    if identity_of(status) != file.identity:
        how = "is shorter than it was" if status.st_size < file.size_bytes else "was written to"
        raise Changed(Reject(f"{file.name} {how} while it was read: {_MEND}", code=_CODE))


def changed_since(start: Position, files: Iterable[Arrived]) -> Reject | None:
    """Of the file in whose middle an earlier read stopped. None when it is as it was, or on its way still, or gone."""
    for file in files:
        if start.file == file.name and start.identity != file.identity:
            loaded = f"its first {start.row} rows are loaded"
            return Reject(
                f"{file.name} is another file than the one that was read before: {loaded}; {_MEND}", code=_CODE
            )
    return None
