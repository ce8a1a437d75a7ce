"""What a load under way has to remember of its target: a small file in the state folder, durable when ``keep`` returns."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from accord.record import Reject
from accord.sdk.connector import LoadFailed
from accord.sdk.durable import sync_folder


class LoadNotes:
    """Raises LoadFailed(Reject) when the folder cannot be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._notes: dict[str, str] = {}

    def __contains__(self, note: str) -> bool:
        return note in self._notes

    def get(self, note: str) -> str:
        return self._notes.get(note, "")

    def read(self) -> None:
        try:
            self._notes = msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            self._notes = {}
        except (OSError, msgspec.DecodeError) as error:
            raise self._failed(error) from error

    def keep(self, note: str, value: str) -> None:
        if self._notes.get(note) != value:
            self._notes[note] = value
            self._write()

    def drop(self, note: str) -> None:
        self._notes.pop(note, None)
        self._write()

    def narrow(self, wanted: Callable[[str], bool]) -> None:
        """Only these are still needed; the file follows with the next ``keep``."""
        self._notes = {note: value for note, value in self._notes.items() if wanted(note)}

    def values(self) -> Mapping[str, str]:
        return self._notes

    def forget(self) -> None:
        """The load has ended."""
        self._notes = {}
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        temporary = self._path.with_suffix(".new")
        try:
            with temporary.open("wb") as file:
                file.write(msgspec.json.encode(self._notes))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> LoadFailed:
        reason = f"the notes of this load, {self._path.name} in the state folder, cannot be kept: {error}"
        return LoadFailed(Reject(reason, code="connector.job-notes"))
