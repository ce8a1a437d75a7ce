"""Which job took which rows of a load: a small file in the state folder, durable before the job begins."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from accord.record import Reject
from accord.sdk.connector import LoadFailed


class JobNotes:
    """Raises LoadFailed(Reject) when the folder cannot be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: dict[str, str] = {}

    def __contains__(self, note: str) -> bool:
        return note in self._jobs

    def get(self, note: str) -> str:
        return self._jobs.get(note, "")

    def read(self) -> None:
        try:
            self._jobs = msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            self._jobs = {}
        except (OSError, msgspec.DecodeError) as error:
            raise self._failed(error) from error

    def keep(self, note: str, job: str) -> None:
        if self._jobs.get(note) != job:
            self._jobs[note] = job
            self._write()

    def drop(self, note: str) -> None:
        self._jobs.pop(note, None)
        self._write()

    def forget(self) -> None:
        """The load has ended."""
        self._jobs = {}
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        temporary = self._path.with_suffix(".new")
        try:
            with temporary.open("wb") as file:
                file.write(msgspec.json.encode(self._jobs))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> LoadFailed:
        reason = f"the note of this load's jobs, {self._path.name} in the state folder, cannot be kept: {error}"
        return LoadFailed(Reject(reason, code="connector.job-notes"))
