"""The GraphQL documents this connector sends, read once from ``graphql/`` with the fragments they spread."""

from __future__ import annotations

import functools
import re
from importlib.resources import files
from importlib.resources.abc import Traversable

API_VERSION = "2026-10"  # the stable version every document is validated against

_SPREAD = re.compile(r"\.\.\.([A-Z]\w*)")


@functools.cache
def document(name: str) -> str:
    """The document ``graphql/<name>.graphql``, followed by every fragment it needs, directly or through another."""
    folder = files(__package__) / "graphql"
    text = (folder / f"{name}.graphql").read_text("utf-8")
    return "\n".join([text.strip(), *_fragments(folder, text)])


def fragment(name: str) -> str:
    """What stands between the braces of a fragment."""
    text = (files(__package__) / "graphql" / "fragments" / f"{name}.graphql").read_text("utf-8")
    return text[text.index("{") + 1 : text.rindex("}")]


def document_names() -> list[str]:
    """Names of all documents, in order."""
    entries = (files(__package__) / "graphql").iterdir()
    return sorted(e.name.removesuffix(".graphql") for e in entries if e.name.endswith(".graphql"))


def _fragments(folder: Traversable, text: str) -> list[str]:
    found: dict[str, str] = {}
    pending = _SPREAD.findall(text)
    while pending:
        name = pending.pop()
        if name in found:
            continue
        found[name] = (folder / "fragments" / f"{name}.graphql").read_text("utf-8").strip()
        pending += _SPREAD.findall(found[name])
    return [found[name] for name in sorted(found)]
