"""A folder nobody gets out of: which files there are, when one has arrived whole, where finished ones go.

A file has arrived when two looks at least ``stable`` apart see the same size and time. Finished files are moved by a hard link
and an unlink, so nothing is ever overwritten and a crash in between is repaired by the next call.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from accord.connectors.files.spec import FilesSettings
from accord.errors import ConnectorError
from accord.sdk.durable import sync_folder

NAMES_TRIED_MAX = 10_000


class Outside(ConnectorError):
    """A path leads out of the folder."""

    code = "connector.files-outside"


class Arrived(NamedTuple):
    """``identity`` tells a new file from an old one of the same name: size and time in nanoseconds."""

    name: str
    path: Path
    identity: str
    size_bytes: int


def identity_of(status: os.stat_result) -> str:
    return f"{status.st_size}-{status.st_mtime_ns}"


class Folder:
    def __init__(self, root: Path, settings: FilesSettings) -> None:
        self.root = root
        self.settings = settings
        self._seen: dict[str, dict[Path, tuple[str, float]]] = {}  # by pattern: identity and since when

    def exists(self) -> bool:
        return self.root.is_dir()

    def inside(self, name: str) -> Path:
        """The path of ``name`` in the folder. Raises Outside for '..', absolute paths and symbolic links that lead out."""
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\x00" in name or "\\" in name:
            raise Outside(f"'{name}' leads out of the folder")
        path = self.root / pure
        if not path.parent.resolve().is_relative_to(self.root.resolve()):
            raise Outside(f"'{name}' leads out of the folder through a symbolic link")
        return path

    def look(self, pattern: str) -> tuple[list[Arrived], bool]:
        """Files that match and have arrived, oldest first; and whether others are still on their way."""
        now, stable_s = time.monotonic(), self.settings.stable.total_seconds()
        arrived, waiting = [], False
        before, seen = self._seen.get(pattern, {}), {}
        for path, status in self._candidates(pattern):
            identity = identity_of(status)
            known, since = before.get(path, ("", now))
            since = since if known == identity else now
            seen[path] = (identity, since)
            if now - since >= stable_s:
                name = path.relative_to(self.root).as_posix()
                arrived.append((status.st_mtime_ns, Arrived(name, path, identity, status.st_size)))
            else:
                waiting = True
        self._seen[pattern] = seen
        return [file for _, file in sorted(arrived)[: self.settings.files_max]], waiting

    def _candidates(self, pattern: str) -> Iterator[tuple[Path, os.stat_result]]:
        own = {self.settings.processed, self.settings.rejected}
        resolved = self.root.resolve()
        told = PurePosixPath(pattern).parts  # a folder with a leading dot is read where the pattern names it
        for path in self.root.glob(pattern):
            relative = path.relative_to(self.root)
            is_hidden = any(part.startswith(".") and part not in told for part in relative.parts)
            if relative.parts[0] in own or is_hidden or path.is_symlink():
                continue
            if not path.parent.resolve().is_relative_to(resolved):
                continue
            with contextlib.suppress(FileNotFoundError):  # taken away between listing and looking
                status = path.stat()
                if path.is_file():
                    yield path, status

    def move(self, name: str, to: str, reason: str = "") -> str:
        """Moves a finished file to ``to`` (processed or rejected), under a free name; '' when it is gone already."""
        source = self.inside(name)
        if not source.exists():
            return ""
        target = self._linked(source, self.inside(f"{to}/{name}"))
        if reason:
            target.with_name(target.name + ".reason.txt").write_text(reason + "\n", encoding="utf-8")
        source.unlink()
        sync_folder(target.parent)
        return target.relative_to(self.root).as_posix()

    def _linked(self, source: Path, wanted: Path) -> Path:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        for number in range(NAMES_TRIED_MAX):
            target = wanted if number == 0 else wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
            if target.exists() and target.samefile(source):
                return target  # an earlier move stopped between link and unlink
            if put_new(source, target, keep=True):
                return target
        raise OSError(f"no free name for {wanted.name} after {NAMES_TRIED_MAX} tries")

    def write_new(self, name: str, content: bytes) -> bool:
        """A whole file under ``name``, never half of one; False when it was there."""
        target = self.inside(name)
        return put_new(self._temporary(target, content), target)

    def write_over(self, name: str, content: bytes) -> None:
        target = self.inside(name)
        self._temporary(target, content).replace(target)
        sync_folder(target.parent)

    def _temporary(self, target: Path, content: bytes) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{os.getpid()}.{time.monotonic_ns()}.tmp")
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return temporary

    def append(self, name: str, content: bytes, first: bytes) -> None:
        """Adds whole lines at the end; ``first`` begins a new file. A torn last line is closed first."""
        target = self.inside(name)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("a+b") as file:
            size = file.seek(0, os.SEEK_END)
            if size:
                file.seek(-1, os.SEEK_END)
                content = content if file.read(1) == b"\n" else b"\n" + content
            file.write(content if size else first + content)
            file.flush()
            os.fsync(file.fileno())


def put_new(source: Path, target: Path, *, keep: bool = False) -> bool:
    """``source`` under the name ``target`` unless that is taken; then False. ``keep``: the old name stays too."""
    try:
        os.link(source, target)
    except FileExistsError:
        if not keep:
            source.unlink()
        return False
    except OSError:  # no hard links here (SMB, FAT): reserve the name, then replace it
        try:
            target.touch(exist_ok=False)
        except FileExistsError:
            if not keep:
                source.unlink()
            return False
        if keep:
            shutil.copyfile(source, target)
        else:
            source.replace(target)
        return True
    if not keep:
        source.unlink()
    sync_folder(target.parent)
    return True
