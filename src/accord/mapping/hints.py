"""How to convert one type to another, in the language's own words."""

from __future__ import annotations

from typing import Any

from accord.mapping.value import meet, shown
from accord.record.types import Decimal, Json, List, Object


def conversion_hint(have: Any, want: Any, said: str) -> str:
    """How to convert, in the language's own words; empty when nothing fits."""
    targets = {
        "string": "text({0})",
        "enum": "text({0})",
        "decimal": "decimal({0})",
        "integer": "integer(round({0}))" if isinstance(have, Decimal) else "integer({0})",
        "float": "float_({0})",
        "date": "date({0})" if shown(have) == "datetime" else 'date({0}, "%Y-%m-%d")',
        "datetime": 'datetime({0}, zone="Europe/Berlin")',
        "boolean": "boolean({0})",
        "duration": "duration({0})",
    }
    if isinstance(want, List) and not isinstance(have, List) and meet(have, want.item) is not None:
        return f"Make a list of it: [{said}]."
    if isinstance(have, List) and not isinstance(want, List | Object):
        return f"Take one item, for example first({said})."
    if isinstance(have, List | Object):
        return f"Take one of its fields: {said}.…" if isinstance(have, Object) else ""
    if isinstance(want, Json):
        return f"Convert it: text({said})."
    template = targets.get(str(want.__struct_config__.tag))
    return f"Convert it: {template.format(said)}." if template else ""
