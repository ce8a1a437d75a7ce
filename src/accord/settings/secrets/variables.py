"""Secrets in environment variables: ``shop_token`` is ``ACCORD_SECRET_SHOP_TOKEN``."""

from __future__ import annotations

import re
from collections.abc import Mapping

PREFIX = "ACCORD_SECRET_"


class VariableSecrets:
    """Reads the variables it is given; other variables are never looked at."""

    title = "environment variables"

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    def get(self, name: str) -> str | None:
        return self._variables.get(variable_of(name)) or None

    def names(self) -> list[str]:
        """In lower case: a variable's name does not tell how the secret is written."""
        return sorted(key.removeprefix(PREFIX).lower() for key in self._variables if key.startswith(PREFIX))


def variable_of(name: str) -> str:
    """The variable that holds a secret: upper case, everything but letters and digits as '_'."""
    return PREFIX + re.sub(r"[^A-Z0-9]", "_", name.upper())
