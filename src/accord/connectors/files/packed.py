"""Compressed files: unpacked to a copy on disk, so that a read can go on in the middle of them; packed while they are written."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


from accord.connectors.files.rows import Unreadable
from accord.connectors.files.spec import PACKED_SUFFIXES, Packing

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
    except (EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError, zipfile.BadZipFile, RuntimeError) as error:
        raise Unreadable(f"the file cannot be unpacked: {type(error).__name__}") from None
    copy.seek(0)


def open_to_write(path: Path, packing: Packing | None) -> BinaryIO:
    """A new file whose content is packed as it is written. The same content makes the same bytes, whenever it is written."""
    match packing:
        case "gz":
            return cast(BinaryIO, _Gzip(path))
        case "zst":
            return cast(BinaryIO, zstd.ZstdFile(path, "wb"))
        case None:
            return path.open("wb")


class _Gzip(gzip.GzipFile):
    """Without name and time in its head."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        super().__init__("", "wb", compresslevel=6, fileobj=self._file, mtime=0)

    def close(self) -> None:
        super().close()
        self._file.close()


def _opened(file: BinaryIO, suffix: str) -> Any:
    if suffix == ".gz":
        return gzip.GzipFile(fileobj=file)
    if suffix == ".zst":
        return zstd.ZstdFile(file)
    return bz2.BZ2File(file) if suffix == ".bz2" else lzma.LZMAFile(file)


def _copy(content: IO[bytes], copy: IO[bytes]) -> None:
    size = 0
    while chunk := content.read(_AT_ONCE):
        size += len(chunk)
        if size > UNPACKED_SIZE_MAX:
            raise Unreadable(f"the file unpacks to more than {UNPACKED_SIZE_MAX} bytes")
        copy.write(chunk)
