"""``on_schema_change`` and ``quality`` of an entity: how its shape and its data may change from run to run."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec

from accord.errors import did_you_mean
from accord.record.watch import Quality, SchemaChange, ShapePolicy
from accord.settings.node import Node

Bad = Callable[[str, str, str, str], None]  # code, key, sentence, mend
ALLOWED: dict[str, tuple[ShapePolicy, ...]] = {
    "new": (ShapePolicy.EVOLVE, ShapePolicy.FREEZE),
    "missing": (ShapePolicy.FREEZE, ShapePolicy.NULL_VALUE, ShapePolicy.REJECT_ROW),
    "retyped": (ShapePolicy.FREEZE, ShapePolicy.REJECT_ROW),
}
_ONE_WORD = {
    ShapePolicy.EVOLVE: SchemaChange(),
    ShapePolicy.FREEZE: SchemaChange(new=ShapePolicy.FREEZE, retyped=ShapePolicy.FREEZE),
    ShapePolicy.REJECT_ROW: SchemaChange(missing=ShapePolicy.REJECT_ROW),
    ShapePolicy.NULL_VALUE: SchemaChange(missing=ShapePolicy.NULL_VALUE),
}
_SHARE = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,4})?) ?(%|points?)")


def read_schema_change(entity: Node, bad: Bad) -> SchemaChange | None:
    """None when it is not there or wrong."""
    node = entity.get("on_schema_change")
    if node is None:
        return None
    words = ", ".join(ShapePolicy)
    if not node.is_map:
        if isinstance(node.value, str) and node.value in list(ShapePolicy):
            return _ONE_WORD[ShapePolicy(node.value)]
        mend = f"Write one of {words}, or {{new: …, missing: …, retyped: …}}."
        bad("bad-entity", "on_schema_change", f"`on_schema_change` cannot be {node.describe()}.", mend)
        return None
    found = {}
    for key, child in node.items():
        allowed = ALLOWED.get(key)
        if allowed is None:
            bad("unknown-key", "on_schema_change", f"unknown key `{key}`.", did_you_mean(key, ALLOWED))
        elif not isinstance(child.value, str) or child.value not in list(allowed):
            bad(
                "bad-entity",
                "on_schema_change",
                f"`{key}` cannot be {child.describe()}.",
                f"Write one of {', '.join(allowed)}.",
            )
        else:
            found[key] = ShapePolicy(child.value)
    return msgspec.structs.replace(SchemaChange(), **found)


def read_quality(entity: Node, bad: Bad) -> Quality | None:
    """None when it is not there or wrong."""
    node = entity.get("quality")
    if node is None:
        return None
    example = "Write it like {volume: 50%, nulls: 5 points, new_values: true}."
    if not node.is_map:
        bad("wrong-type", "quality", f"`quality` must be a mapping, this is {node.describe()}.", example)
        return None
    found: dict[str, Any] = {}
    for key, child in node.items():
        share = _share(child.value)
        if key not in Quality.__struct_fields__:
            bad("unknown-key", "quality", f"unknown key `{key}`.", did_you_mean(key, Quality.__struct_fields__))
        elif key == "new_values" and isinstance(child.value, bool):
            found[key] = child.value
        elif key != "new_values" and share is not None:
            found[key] = share
        else:
            bad("bad-entity", "quality", f"`{key}` of `quality` cannot be {child.describe()}.", example)
    return Quality(**found)


def _share(value: Any) -> float | None:
    match = _SHARE.fullmatch(value) if isinstance(value, str) else None
    return float(match[1]) / 100 if match else None


def watch_schema() -> dict[str, Any]:
    """The JSON Schema of both keys."""
    share = {"type": "string", "pattern": f"^{_SHARE.pattern}$"}
    return {
        "on_schema_change": {
            "anyOf": [
                {"enum": [str(word) for word in ShapePolicy]},
                {
                    "type": "object",
                    "properties": {key: {"enum": [str(word) for word in words]} for key, words in ALLOWED.items()},
                    "additionalProperties": False,
                },
            ],
            "description": "What a bulk run does when the source's columns have changed.",
        },
        "quality": {
            "type": "object",
            "properties": {
                "volume": {**share, "description": "How far the rows of a run may be from the last runs' median."},
                "nulls": {**share, "description": "How far the share of nulls of a field may be, in points."},
                "new_values": {"type": "boolean", "description": "Tell a value that a field of few values never had."},
            },
            "additionalProperties": False,
            "description": "What is told when the data of a bulk run differs from the last runs'.",
        },
    }
