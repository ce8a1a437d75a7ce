"""Compressed files: unpacked to a copy on disk, so that a read can go on in the middle of them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, BinaryIO

from accord.connectors.files.rows import Unreadable

PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zip")
UNPACKED_SIZE_MAX = 100 * 1024**3  # bytes of the copy: a file that unpacks to more is an attack or a mistake
_AT_ONCE = 1 << 20


def is_packed(name: str) -> bool:
    return name.lower().endswith(PACKED_SUFFIXES)


def unpack(path: Path, copy: IO[bytes]) -> None:
    """Writes the content of ``path`` to ``copy`` and goes to its beginning. A zip holds one file. Raises Unreadable."""
    try:
        with path.open("rb") as file:
            if path.suffix.lower() == ".zip":
                with zipfile.ZipFile(file) as archive:
                    names = [each for each in archive.namelist() if not each.endswith("/")]
                    if len(names) != 1:
                        raise Unreadable(f"the archive holds {len(names)} files instead of one")
                    with archive.open(names[0]) as content:
                        _copy(content, copy)
            else:
                with _opened(file, path.suffix.lower()) as content:
                    _copy(content, copy)
    except OSError as error:
        if error.errno is not None:  # of the disk, not of the content
            raise
        raise Unreadable(f"the file cannot be unpacked: {error}") from None
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError) as error:
        raise Unreadable(f"the file cannot be unpacked: {type(error).__name__}") from None
    copy.seek(0)


def _opened(file: BinaryIO, suffix: str) -> Any:
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=file)
    return bz2.BZ2File(file) if suffix == ".bz2" else lzma.LZMAFile(file)


def _copy(content: IO[bytes], copy: IO[bytes]) -> None:
    size = 0
    while chunk := content.read(_AT_ONCE):
        size += len(chunk)
        if size > UNPACKED_SIZE_MAX:
            raise Unreadable(f"the file unpacks to more than {UNPACKED_SIZE_MAX} bytes")
        copy.write(chunk)
