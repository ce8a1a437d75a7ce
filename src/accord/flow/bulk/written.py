"""Which fields of its source a bulk flow needs as they were written: from its last step back to the source."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from accord.flow.bulk.columns import Draft
from accord.flow.steps.split import PARENT
from accord.mapping.contract import Contract
from accord.mapping.mapping import Mapping as RecordMapping
from accord.mapping.spec import Formula
from accord.mapping.written import has_forms, is_handed_on, read_by, shown_by, shown_by_field, texts_of
from accord.record.types import Field, Object


class _Unknown(Exception):
    """A step that may show anything."""


def as_written(contract: Contract, drafts: Sequence[Draft]) -> frozenset[str]:
    """Fields of the source; all that have a form where a step runs row by row, or shows a value that an earlier step computed."""
    fields = contract.entity.fields
    try:
        shown: set[str] = set()
        for draft in reversed(drafts):
            shown = _before(draft, shown)
        return frozenset((shown & fields.keys()) | _by_rules(contract))
    except _Unknown:
        return frozenset(name for name, field in fields.items() if has_forms(field.type))


def _before(draft: Draft, shown: set[str]) -> set[str]:
    """What must come as it was written into a step, by what must so come out of it."""
    if draft.why_not:
        raise _Unknown
    if draft.contract is not None:
        return shown | _by_rules(draft.contract)
    if draft.test is not None:
        test, scope = draft.test
        return shown | shown_by([test.text], scope.fields)
    if draft.values is not None:
        found = shown - draft.values.keys()
        for name, (value, scope) in draft.values.items():
            found |= shown_by([value.text], scope.fields)
            if name in shown:
                found |= _handed_on([value.text], scope.fields)
        return found
    if draft.items is not None:
        return shown | _before_split(draft)
    if draft.mapping is None:
        return shown
    made = _by_mapping(draft.mapping, () if draft.target is not None else shown)
    return shown | made if draft.target is not None else made


def _before_split(draft: Draft) -> set[str]:
    assert draft.items is not None
    items, scope = draft.items
    found = shown_by([items.text], scope.fields)
    for one in draft.inner:
        inside = _by_mapping(one.mapping, ()) if one.mapping is not None else set()
        parent = one.mapping.source.fields.get(PARENT) if one.mapping is not None else None
        if PARENT in inside and parent is not None and isinstance(parent.type, Object):
            found |= {name for name, field in parent.type.fields.items() if has_forms(field.type)}
        if inside - {PARENT}:
            found |= _handed_on([items.text], scope.fields)
    return found


def _by_rules(contract: Contract) -> set[str]:
    return shown_by([expression.text for _, expression in contract.rules], contract.entity.fields)


def _by_mapping(mapping: RecordMapping, shown: Collection[str]) -> set[str]:
    """``shown``: fields of its target."""
    source, target = mapping.source.fields, mapping.target.fields
    found: set[str] = set()
    for name, spec in mapping.spec.fields.fields.items():
        if name not in target:
            continue
        found |= shown_by_field(spec, target[name], source)
        if name in shown:
            if not isinstance(spec, Formula):
                raise _Unknown
            found |= _handed_on(texts_of(spec), source)
    return found


def _handed_on(texts: list[str], fields: Mapping[str, Field]) -> set[str]:
    if not all(map(is_handed_on, texts)):
        raise _Unknown
    return read_by(texts, fields)
