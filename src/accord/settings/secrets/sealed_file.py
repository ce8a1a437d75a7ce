"""Secrets in a file that may be committed: names readable, each value encrypted and authenticated.

Format (YAML, one line per secret, sorted, so that git merges and reviews it):

    accord-secrets: 1
    key: 8f14e45fceea167a          # id of the key, see keys.Key
    secrets:
      shop_token: <base64 of nonce(12) + ciphertext + tag(16)>

A value is AES-256-GCM (NIST SP 800-38D) under the project's key with a fresh random nonce; the associated data is the format
version and the secret's name. A changed byte, and a value moved under another name, are refused when read. What this cannot
show is that a line was taken out or set back to an older one: git's history shows that.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from accord.errors import Faults, SettingsError
from accord.settings.decode import decode
from accord.settings.folder_lock import locked
from accord.settings.node import read_yaml
from accord.settings.secrets.keys import Key, KeyFile, write_durably
from accord.settings.secrets.provider import checked_name, checked_value

VERSION = 1
_NONCE_SIZE_BYTES = 12
_HEAD = "# Encrypted by Accord: change it with `accord secret`, commit it like any other file.\n"


class SealedFile:
    """``keys`` is asked at every use, so that a renewed key is seen; nothing decrypted is kept."""

    def __init__(self, path: Path, keys: Callable[[], list[Key]]) -> None:
        self.path = path
        self._keys = keys

    @property
    def title(self) -> str:
        return f"the encrypted file {self.path.name}"

    def names(self) -> list[str]:
        return sorted(self._read()[1])

    def get(self, name: str) -> str | None:
        key_id, sealed = self._read()
        if name not in sealed:
            return None
        return self._open(self._key(key_id), name, sealed[name])

    def set(self, name: str, value: str) -> None:
        checked_name(name)
        checked_value(name, value)
        with _locked(self.path.parent):
            key_id, sealed = self._read()
            key = self._key(key_id)
            self._write(key, {**sealed, name: _seal(key, name, value)})

    def remove(self, name: str) -> bool:
        with _locked(self.path.parent):
            key_id, sealed = self._read()
            if name not in sealed:
                return False
            key = self._key(key_id)
            self._write(key, {k: v for k, v in sealed.items() if k != name})
            return True

    def rotate(self, new: Key) -> int:
        """Encrypts every secret with a new key; how many there were. All or, when one cannot be opened, nothing."""
        with _locked(self.path.parent):
            key_id, sealed = self._read()
            old = self._key(key_id) if sealed else new
            opened = {name: self._open(old, name, value) for name, value in sealed.items()}
            self._write(new, {name: _seal(new, name, value) for name, value in opened.items()})
            return len(opened)

    def rotate_key_file(self, key_file: KeyFile) -> int:
        """Makes a new key, encrypts every secret with it and stores it as the key file's; how many secrets there were.

        Safe against being interrupted: when an earlier change got as far as encrypting the file, its key is kept first. Raises
        SettingsError when the secrets are not encrypted with the key file's key (it was given in ACCORD_KEY only): the new key
        would be looked for in the wrong place.
        """
        key_id, _sealed = self._read()
        if key_id and key_id == key_file.next_id():
            key_file.promote_next()
        if key_id and key_id not in {key.id for key in key_file.load()}:
            raise SettingsError(
                f"{self.path.name} is not encrypted with the key in {key_file.path}.",
                mend="Write the key of ACCORD_KEY into that file (chmod 600), rotate, then set ACCORD_KEY to the new one.",
                code="settings.key-wrong",
            )
        new = Key.generate()
        key_file.store_next(new)
        count = self.rotate(new)
        key_file.promote_next()
        return count

    def _key(self, key_id: str) -> Key:
        keys = self._keys()
        if not keys:
            raise SettingsError(
                f"There is no key for {self.path.name}.",
                mend="Set ACCORD_KEY, or put the key file at its place (~/.config/accord, or `key_file`).",
                code="settings.key-missing",
            )
        for key in keys:
            if key_id in ("", key.id):
                return key
        raise SettingsError(
            f"{self.path.name} is encrypted with the key {key_id}, the key given is {keys[0].id}.",
            mend="Use the key of this project, or get the file as it was before the key was changed.",
            code="settings.key-wrong",
        )

    def _read(self) -> tuple[str, dict[str, str]]:
        """Key id and sealed values; ('', {}) when there is no file yet."""
        if not self.path.exists():
            return "", {}
        faults = Faults()
        node = read_yaml(self.path, faults, shown_as=self.path.name)
        version, key, sealed = (node.get(name) if node else None for name in ("accord-secrets", "key", "secrets"))
        if (
            node is not None
            and version is not None
            and version.value == VERSION
            and key is not None
            and sealed is not None
        ):
            key_id = decode(key, str, faults, what="the key id")
            values = decode(sealed, dict[str, str], faults, what="the secrets")
            if key_id is not None and values is not None and not faults.errors:
                return key_id, values
        why = f" {faults.errors[0].what}" if faults.errors else ""
        raise SettingsError(
            f"{self.path.name} is no secrets file of version {VERSION}.{why}",
            mend="Get it back from git; a merge conflict in it is solved by keeping whole lines.",
            code="settings.secrets-file",
        )

    def _write(self, key: Key, sealed: dict[str, str]) -> None:
        lines = [f'  {name}: "{sealed[name]}"' for name in sorted(sealed)]
        secrets_ = "secrets:\n" + "\n".join(lines) if lines else "secrets: {}"
        write_durably(self.path, f'{_HEAD}accord-secrets: {VERSION}\nkey: "{key.id}"\n{secrets_}\n')

    def _open(self, key: Key, name: str, sealed: str) -> str:
        try:
            raw = base64.b64decode(sealed, validate=True)
            value = AESGCM(key.raw()).decrypt(raw[:_NONCE_SIZE_BYTES], raw[_NONCE_SIZE_BYTES:], _bound_to(name))
            return value.decode("utf-8")
        except (binascii.Error, ValueError, InvalidTag):
            raise SettingsError(
                f"The secret '{name}' in {self.path.name} was changed by hand or damaged.",
                mend=f"Store it again: accord secret set {name}.",
                code="settings.secret-broken",
            ) from None


def _seal(key: Key, name: str, value: str) -> str:
    nonce = secrets.token_bytes(_NONCE_SIZE_BYTES)
    return base64.b64encode(nonce + AESGCM(key.raw()).encrypt(nonce, value.encode("utf-8"), _bound_to(name))).decode()


def _bound_to(name: str) -> bytes:
    return f"accord-secrets/{VERSION}/{name}".encode()


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One writer at a time: two commands at once must not lose each other's secret."""
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        yield
