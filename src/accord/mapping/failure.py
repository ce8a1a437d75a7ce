"""Turns an exception of generated code into a Problem that names field, expression and (masked) value."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Any

from accord.errors import Problem
from accord.mapping.emit import Code, Site
from accord.mapping.functions.signature import Rejected

MASKED = "***"
SHOWN_LENGTH_MAX = 60
_MAIL = re.compile(r"\S+@\S+")  # stands in the wrong field more often than anything else personal


def show_value(value: Any, *, personal: bool = False) -> str:
    """A value for a message: short; '***' when personal, mail addresses masked in any; containers by their size only, as they may
    hold personal data."""
    if personal:
        return MASKED
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case str():
            text = _MAIL.sub(f"{MASKED}@{MASKED}", value[: SHOWN_LENGTH_MAX * 4])
            text = text if len(text) <= SHOWN_LENGTH_MAX else text[: SHOWN_LENGTH_MAX - 1] + "…"
            return repr(text.encode("utf-8", "backslashreplace").decode())
        case int():
            return str(value) if value.bit_length() < 200 else f"an integer of {value.bit_length()} bits"
        case float() | Decimal():
            return str(value)[:SHOWN_LENGTH_MAX]
        case dt.datetime() | dt.date():
            return value.isoformat()
        case list():
            return f"a list of {len(value)}"
        case dict():
            return f"an object of {len(value)} fields"
        case _:
            return f"a {type(value).__name__}"


def problem_of(error: Exception, code: Code, default: Site) -> Problem:
    """What a failure of generated code means for the record."""
    site, path = _where(error, code, default)
    reason, value, kind = _why(error)
    if site.text:
        reason = f"{reason}, in: {site.text}"
    return Problem(kind, path, reason, show_value(value, personal=site.personal))


def _where(error: Exception, code: Code, default: Site) -> tuple[Site, str]:
    trace = error.__traceback__
    file = code.run.__code__.co_filename
    while trace is not None and trace.tb_frame.f_code.co_filename != file:
        trace = trace.tb_next
    if trace is None:
        return default, default.path
    line = trace.tb_lineno
    site = code.sites[line - 1] if 0 < line <= len(code.sites) else default
    if not site.path and not site.text:
        site = default
    indexes = {name: len(value) for name, value in trace.tb_frame.f_locals.items() if isinstance(value, list)}
    path = site.path
    if "{" in path:
        try:
            path = path.format(**indexes)
        except (KeyError, IndexError, ValueError):
            path = site.path.partition("[{")[0]
    return site, path


def _why(error: Exception) -> tuple[str, Any, str]:
    """Reason (free of values), the value at fault, and the code."""
    match error:
        case Rejected():
            return error.reason, error.value, "mapping.rejected"
        case ZeroDivisionError():
            return "division by zero", None, "mapping.arithmetic"
        case ArithmeticError():
            return "the result is too large or cannot be computed exactly", None, "mapping.arithmetic"
        case KeyError():
            return f"the record lacks the required field {error}", None, "mapping.incomplete"
        case RecursionError() | MemoryError():
            return "the record is too deep or too large", None, "mapping.failed"
        case _:
            return f"the expression failed with {type(error).__name__}", None, "mapping.failed"
