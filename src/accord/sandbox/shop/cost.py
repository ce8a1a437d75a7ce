"""What a query costs, and the bucket it is paid from.

The published rules: scalars cost nothing, an object one point, a mutation ten, a connection by its size. The growth with size is
not published; ``2 + cost of a node x 2 ln(size)`` reproduces the one measured example known (25 points for 250 variants with
their inventory items). Clients must read the cost from the answer, as with the real Admin.
"""

from __future__ import annotations

import math
import time
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLObjectType,
    GraphQLSchema,
    IntValueNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    is_composite_type,
)

MUTATION_POINTS = 10


class PointBucket:
    def __init__(self, size: float, per_s: float) -> None:
        self.size, self.per_s = size, per_s
        self.available, self.at = size, time.monotonic()

    def refresh(self) -> float:
        now = time.monotonic()
        self.available = min(self.size, self.available + (now - self.at) * self.per_s)
        self.at = now
        return self.available

    def status(self) -> dict[str, float]:
        return {
            "maximumAvailable": float(self.size),
            "currentlyAvailable": math.floor(self.refresh()),
            "restoreRate": float(self.per_s),
        }


class Cost:
    """The requested cost of one operation."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode, variables: dict[str, Any]) -> None:
        self.schema, self.variables = schema, variables
        self.fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}

    def of(self, operation: OperationDefinitionNode) -> int:
        root = self.schema.get_root_type(operation.operation)
        extra = MUTATION_POINTS if operation.operation is OperationType.MUTATION else 0
        return max(1, round(self._selections(operation.selection_set, root))) + extra

    def _selections(self, selections: SelectionSetNode | None, kind: Any) -> float:
        total = 0.0
        for node in selections.selections if selections else ():
            if isinstance(node, FieldNode):
                total += self._field(node, kind)
            elif hasattr(node, "selection_set"):
                total += self._selections(node.selection_set, kind)
            elif isinstance(node, FragmentSpreadNode):
                fragment = self.fragments[node.name.value]
                total += self._selections(
                    fragment.selection_set, self.schema.get_type(fragment.type_condition.name.value)
                )
        return total

    def _field(self, node: FieldNode, kind: Any) -> float:
        definition = (
            kind.fields.get(node.name.value) if isinstance(kind, GraphQLObjectType) or hasattr(kind, "fields") else None
        )
        inner = get_named_type(definition.type) if definition else None
        if inner is None or not is_composite_type(inner) or inner.name == "PageInfo":
            return 0.0
        below = self._selections(node.selection_set, inner)
        if inner.name.endswith("Connection"):
            return 2 + below * max(1.0, 2 * math.log(self._size(node)))
        return below if inner.name.endswith("Edge") else 1 + below

    def _size(self, node: FieldNode) -> int:
        for argument in node.arguments or ():
            if argument.name.value in ("first", "last"):
                value = argument.value
                if isinstance(value, IntValueNode):
                    return max(1, int(value.value))
                if isinstance(value, VariableNode):
                    return max(1, int(self.variables.get(value.name.value) or 1))
        return 1


def actual_cost(data: Any, requested: int, *, is_mutation: bool) -> int:
    """What was found: one point for each object in the answer, never more than was asked for."""
    return min(requested, max(1, _objects(data) - 1) + (MUTATION_POINTS if is_mutation else 0))


def _objects(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(_objects(inner) for name, inner in value.items() if name != "pageInfo")
    return sum(_objects(inner) for inner in value) if isinstance(value, list) else 0
