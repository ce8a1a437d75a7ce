"""Mail templates: ``<name>.subject``, ``<name>.txt``, ``<name>.html`` in one folder.

Jinja2 in its sandbox: a template sees ``data`` and its keys only, a missing one is an error, and in HTML every value is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox

PARTS = {"subject": ".subject", "text": ".txt", "html": ".html"}


class TemplateFault(Exception):
    """The template cannot be rendered; the text says which and why, without values."""


class Templates:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            loader=jinja2.FileSystemLoader(folder, followlinks=False),
            autoescape=lambda name: bool(name and name.endswith(".html")),
            undefined=jinja2.StrictUndefined,
            cache_size=200,
            keep_trailing_newline=False,
        )

    def render(self, name: str, data: Any) -> dict[str, str]:
        """The parts a template has (subject, text, html). Raises TemplateFault."""
        if not name or name.startswith("/") or ".." in name.split("/") or "\\" in name:
            raise TemplateFault(f"'{name[:80]}' is no template name")
        values = {str(key): value for key, value in data.items()} if isinstance(data, Mapping) else {}
        parts = {}
        for part, suffix in PARTS.items():
            try:
                template = self._environment.get_template(name + suffix)
                parts[part] = template.render({**values, "data": data})
            except jinja2.TemplateNotFound as error:
                if error.name != name + suffix:
                    raise TemplateFault(
                        f"template '{name}{suffix}' includes '{error.name}', which is not there"
                    ) from None
            except jinja2.UndefinedError as error:
                raise TemplateFault(f"template '{name}{suffix}': {error.message}; give it in `data`") from None
            except jinja2.TemplateSyntaxError as error:
                raise TemplateFault(f"template '{name}{suffix}', line {error.lineno}: {error.message}") from None
            except jinja2.TemplateError as error:
                raise TemplateFault(f"template '{name}{suffix}': {type(error).__name__}") from None
            except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
                raise TemplateFault(f"template '{name}{suffix}' fails with {type(error).__name__}") from None
        if not parts:
            raise TemplateFault(f"there is no template '{name}' (looked for {name}.txt, .html, .subject)")
        return parts

    def faults(self) -> list[tuple[str, int, str]]:
        """Syntax errors of all templates: file name, line, what."""
        found = []
        for suffix in PARTS.values():
            for path in sorted(self.folder.rglob(f"*{suffix}")):
                try:
                    self._environment.parse(path.read_text(encoding="utf-8"))
                except jinja2.TemplateSyntaxError as error:
                    found.append(
                        (path.relative_to(self.folder).as_posix(), error.lineno, error.message or "syntax error")
                    )
                except UnicodeDecodeError:
                    found.append((path.relative_to(self.folder).as_posix(), 1, "not UTF-8 text"))
        return found
