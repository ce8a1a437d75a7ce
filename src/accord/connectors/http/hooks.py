"""A few lines of Python beside a manifest, for what YAML cannot say: an unusual signature, an unusual envelope."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import msgspec

from accord.errors import ConnectorError
from accord.sdk.http import HttpRequest, HttpResponse


class Hooks(msgspec.Struct, frozen=True):
    """``sign`` changes every request before it is sent; ``answer`` every response before it is judged. Neither does I/O."""

    sign: Callable[[HttpRequest], HttpRequest] | None = None
    answer: Callable[[HttpResponse], HttpResponse] | None = None


def load_hooks(folder: Path, name: str) -> Hooks:
    """The hooks in a Python file of the project. Raises ConnectorError when it cannot be loaded or defines neither."""
    if not name:
        return Hooks()
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise ConnectorError(
            f"`hooks` names {name}, which is no file of the project",
            mend="Give the path of a Python file within the project folder.",
            code="connector.hooks",
        )
    spec = importlib.util.spec_from_file_location(f"accord_hooks_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConnectorError(f"{name} is no Python file", mend="Its name must end in .py.", code="connector.hooks")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConnectorError(
            f"{name} cannot be loaded: {error}", mend="Mend the file.", code="connector.hooks"
        ) from error
    hooks = Hooks(getattr(module, "sign", None), getattr(module, "answer", None))
    if hooks.sign is None and hooks.answer is None:
        raise ConnectorError(
            f"{name} defines neither sign(request) nor answer(response)",
            mend="Define one of them, or remove `hooks`.",
            code="connector.hooks",
        )
    return hooks
