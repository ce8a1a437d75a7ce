"""Secrets in the operating system's keyring (extra ``keyring``)."""

from __future__ import annotations

from typing import Any

from accord.errors import SettingsError
from accord.settings.secrets.provider import checked_name, checked_value


class KeyringSecrets:
    """One keyring service per project, ``accord/<project>``; the secret's name is the user name of the entry."""

    def __init__(self, project: str) -> None:
        self._service = f"accord/{project}"

    @property
    def title(self) -> str:
        return f"the OS keyring ({self._service})"

    def get(self, name: str) -> str | None:
        value = self._call("get_password", checked_name(name))
        return None if value is None else str(value)

    def names(self) -> None:
        """A keyring does not list its entries."""
        return

    def set(self, name: str, value: str) -> None:
        self._call("set_password", checked_name(name), checked_value(name, value))

    def remove(self, name: str) -> bool:
        if self.get(name) is None:
            return False
        self._call("delete_password", name)
        return True

    def _call(self, method: str, *arguments: str) -> Any:
        try:
            import keyring
            from keyring.errors import KeyringError
        except ImportError:
            raise SettingsError(
                "The OS keyring is not supported by this installation.",
                mend="Install the extra: pip install 'accord-integration[keyring]', or remove keyring from `secrets`.",
                code="settings.keyring-unavailable",
            ) from None
        try:
            return getattr(keyring, method)(self._service, *arguments)
        except KeyringError as error:
            raise SettingsError(
                f"The OS keyring cannot be used: {type(error).__name__}.",
                mend="Unlock it, or remove keyring from `secrets` of this environment (servers seldom have one).",
                code="settings.keyring-unavailable",
            ) from None
