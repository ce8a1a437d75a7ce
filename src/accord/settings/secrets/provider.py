"""What a provider of secrets promises, and the chain that asks them in the declared order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from accord.errors import SettingsError

SECRET_SIZE_BYTES_MAX = 65_536  # a certificate chain with its key fits; a whole file by mistake does not
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")


class SecretProvider(Protocol):
    """``title`` names it in messages. Methods raise SettingsError when the provider itself cannot work."""

    @property
    def title(self) -> str: ...

    def get(self, name: str) -> str | None:
        """The value, or None when this provider does not have it."""
        ...

    def names(self) -> list[str] | None:
        """What it holds, sorted; None when it cannot tell."""
        ...


@runtime_checkable
class WritableProvider(SecretProvider, Protocol):
    def set(self, name: str, value: str) -> None: ...

    def remove(self, name: str) -> bool:
        """True when it was there."""
        ...


class ProviderChain:
    """Asks its providers in order; the first that has a secret wins."""

    def __init__(self, providers: Sequence[SecretProvider]) -> None:
        self.providers = tuple(providers)

    @property
    def title(self) -> str:
        return ", then ".join(provider.title for provider in self.providers) or "no provider"

    def get(self, name: str) -> str | None:
        found = self.find(name)
        return None if found is None else found[1]

    def find(self, name: str) -> tuple[SecretProvider, str] | None:
        """The provider that has the secret, and its value."""
        checked_name(name)
        for provider in self.providers:
            value = provider.get(name)
            if value is not None:
                return provider, value
        return None

    def names(self) -> list[str]:
        """Every name the providers can tell, sorted."""
        return sorted({name for provider in self.providers for name in provider.names() or ()})

    def writable(self) -> WritableProvider | None:
        """The first provider that can store secrets."""
        return next((p for p in self.providers if isinstance(p, WritableProvider)), None)


def checked_name(name: str) -> str:
    """The name itself; raises SettingsError when it could not be a file name, variable and keyring entry alike."""
    if not _NAME.fullmatch(name):
        mend = "Use letters, digits, '_', '-' and '.', beginning with a letter, at most 100."
        raise SettingsError(f"'{name[:120]}' is no secret name.", mend=mend, code="settings.secret-name")
    return name


def checked_value(name: str, value: str) -> str:
    """The value itself; raises SettingsError when it is empty or larger than ``SECRET_SIZE_BYTES_MAX``."""
    size = len(value.encode("utf-8", "surrogatepass"))
    if not value or size > SECRET_SIZE_BYTES_MAX:
        what = f"The secret '{name}' is {'empty' if not value else f'larger than {SECRET_SIZE_BYTES_MAX} bytes'}."
        raise SettingsError(what, mend="Give its value again.", code="settings.secret-unreadable")
    return value
