"""The files the tests of a project name: example records."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from accord.errors import Place

FILE_SIZE_BYTES_MAX = 20_000_000


def example_reader(folder: Path, place: Place) -> Callable[[str], bytes]:
    """Reads files a declaration at ``place`` names: beside the declaration's own file if there is one, else in the project's
    folder. The function raises OSError for what is not there, lies outside the project or is too large."""

    def read(name: str) -> bytes:
        beside = folder / Path(place.file).parent / name
        path = beside if beside.is_file() else folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise OSError(errno.EACCES, "it lies outside the project", name)
        if path.stat().st_size > FILE_SIZE_BYTES_MAX:
            raise OSError(errno.EFBIG, f"it is larger than {FILE_SIZE_BYTES_MAX} bytes", name)
        return path.read_bytes()

    return read
