"""The key of the encrypted secrets file: 32 random bytes, kept in the variable ACCORD_KEY or in a file outside git."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from accord.errors import SettingsError

KEY_VARIABLE = "ACCORD_KEY"
_KEY_SIZE_BYTES = 32


class Key:
    """Does not show itself. ``id`` tells which key encrypted a file without telling the key (keyed BLAKE2b, 64 bits)."""

    __slots__ = ("_raw", "id")

    def __init__(self, raw: bytes) -> None:
        if len(raw) != _KEY_SIZE_BYTES:
            raise ValueError(f"a key has {_KEY_SIZE_BYTES} bytes")
        self._raw = raw
        self.id = hashlib.blake2b(b"accord secrets key id", key=raw, digest_size=8).hexdigest()

    @classmethod
    def generate(cls) -> Key:
        return cls(secrets.token_bytes(_KEY_SIZE_BYTES))

    @classmethod
    def parse(cls, text: str, *, origin: str) -> Key:
        """From the text of ``reveal``. Raises SettingsError that names ``origin`` and never the text."""
        try:
            return cls(base64.b64decode(text.strip() + "=", altchars=b"-_", validate=True))
        except (binascii.Error, ValueError):
            raise SettingsError(
                f"{origin} holds no key.",
                mend="A key is 43 letters, digits, - and _; the first `accord secret set` makes one.",
                code="settings.key-wrong",
            ) from None

    def reveal(self) -> str:
        """43 characters, URL-safe base64 without padding."""
        return base64.urlsafe_b64encode(self._raw).decode().rstrip("=")

    def raw(self) -> bytes:
        return self._raw

    def __repr__(self) -> str:
        return f"Key({self.id})"


class KeyFile:
    """A key in a file only its owner can read.

    While a key is being changed, ``<file>.next`` holds the new one until the secrets file is written with it; whichever moment
    the change is interrupted at, one of the two files opens the secrets.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.next_path = path.with_name(path.name + ".next")

    def load(self) -> list[Key]:
        """The key and, after an interrupted change, the next one. Raises SettingsError when others could read the file."""
        return [key for path in (self.path, self.next_path) if (key := _read_key(path)) is not None]

    def store(self, key: Key) -> None:
        """Writes the key where there was none. Raises SettingsError when there is one already."""
        if self.path.exists():
            raise SettingsError(
                f"There is a key at {self.path} already.",
                mend="Use `accord secret rotate` to change it.",
                code="settings.key-exists",
            )
        write_durably(self.path, key.reveal() + "\n", mode=0o600)

    def store_next(self, key: Key) -> None:
        write_durably(self.next_path, key.reveal() + "\n", mode=0o600)

    def next_id(self) -> str:
        """The id of the next key, '' when no change of key is under way."""
        key = _read_key(self.next_path)
        return key.id if key else ""

    def promote_next(self) -> None:
        self.next_path.replace(self.path)
        _sync_folder(self.path.parent)


def default_key_path(project: str, variables: Mapping[str, str]) -> Path:
    """``~/.config/accord/<project>.key`` (XDG base directory specification)."""
    base = variables.get("XDG_CONFIG_HOME") or str(Path(variables.get("HOME") or "~").expanduser() / ".config")
    return Path(base) / "accord" / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', project) or 'project'}.key"


def load_keys(variables: Mapping[str, str], key_file: KeyFile) -> list[Key]:
    """The variable's key if it is set, else the file's; none when there is neither."""
    text = variables.get(KEY_VARIABLE, "")
    return [Key.parse(text, origin=f"The variable {KEY_VARIABLE}")] if text else key_file.load()


def write_durably(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replaces a file whole or not at all, on disk when it returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows has no handle of a folder to sync
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_key(path: Path) -> Key | None:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(200)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(
            f"The key file {path} cannot be read: {error.strerror}.",
            mend="It must belong to the user Accord runs as.",
            code="settings.key-missing",
        ) from None
    if os.name != "nt" and stat.S_IMODE(mode) & 0o077:
        raise SettingsError(
            f"The key file {path} can be read by others (mode {stat.S_IMODE(mode):04o}).",
            mend=f"Run: chmod 600 {path}. If others may have read it, also run `accord secret rotate`.",
            code="settings.key-exposed",
        )
    return Key.parse(raw.decode("ascii", "replace"), origin=f"The file {path}")
