"""Secrets as files of a folder, one each, as container platforms mount them (``/run/secrets/shop_token``)."""

from __future__ import annotations

from pathlib import Path

from accord.errors import SettingsError
from accord.settings.secrets.provider import SECRET_SIZE_BYTES_MAX, checked_name, checked_value


class MountedSecrets:
    """The file is read at every ``get``: platforms replace it when a secret is renewed. One line end behind the value is dropped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def title(self) -> str:
        return f"files in {self._folder}"

    def get(self, name: str) -> str | None:
        path = self._folder / checked_name(name)
        try:
            with path.open("rb") as file:
                raw = file.read(SECRET_SIZE_BYTES_MAX + 3)
            value = raw.decode("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise SettingsError(
                f"The secret '{name}' cannot be read from {path}: {why}.",
                mend="Check who owns the file and that it holds text.",
                code="settings.secret-unreadable",
            ) from None
        return checked_value(name, value.removesuffix("\n").removesuffix("\r"))

    def names(self) -> list[str]:
        if not self._folder.is_dir():
            return []
        return sorted(path.name for path in self._folder.iterdir() if not path.name.startswith(".") and path.is_file())
