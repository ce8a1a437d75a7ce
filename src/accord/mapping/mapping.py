"""Compiled mappings."""

from __future__ import annotations

from collections.abc import Mapping as Dict
from typing import Any

from accord.errors import NOWHERE, Faults, Problem, RecordError, did_you_mean
from accord.mapping.check import Compiler
from accord.mapping.emit import Code, Emitter, Site
from accord.mapping.environment import Environment
from accord.mapping.failure import problem_of
from accord.mapping.functions import FunctionTable
from accord.mapping.lookup import Lookup
from accord.mapping.scope import Scope
from accord.mapping.spec import FieldSpec, Group, MappingSpec
from accord.mapping.support import GLOBALS
from accord.mapping.writer import Origin, Writer
from accord.record import Entity
from accord.record.types import Field, Json

_NO_NAMES: dict[str, Any] = {}
_SOMEWHERE = Site("", "", True)


class Mapping:
    """A record of ``source`` becomes a record of ``target``. ``names``: earlier results it reads. ``uses_refs``: it asks for
    cross-references, so results are final only while ``Environment.missing`` is empty. ``scope``: what its expressions see."""

    def __init__(
        self,
        spec: MappingSpec,
        source: Entity,
        target: Entity,
        scope: Scope,
        code: Code,
        origins: dict[str, Origin],
        uses_refs: bool,
    ) -> None:
        self.spec = spec
        self.name = spec.name
        self.source = source
        self.target = target
        self.names: Dict[str, Field] = scope.names
        self.uses_refs = uses_refs
        self.scope = scope
        self._code = code
        self._run = code.run
        self._careful: Code | None = None
        self._origins = origins

    def apply(
        self, record: Dict[str, Any], names: Dict[str, Any] | None = None, environment: Environment | None = None
    ) -> dict[str, Any]:
        """The target record, of the target's types. Raises RecordError with the problem of every field that failed.

        While cross-references are missing the result is provisional (``{}`` when something failed for want of them): look at
        ``environment.missing`` first.
        """
        if environment is None:
            environment = Environment()
        try:
            made: dict[str, Any] = self._run(record, names if names is not None else _NO_NAMES, environment)
        except Exception as error:
            was_missing = bool(environment.missing)
            problems = self._every_problem(record, names if names is not None else _NO_NAMES, environment)
            if was_missing:
                return {}
            raise RecordError(problems or [problem_of(error, self._code, _SOMEWHERE)]) from error
        return made

    def origins(self) -> dict[str, Origin]:
        """Target path (``parcels[].sku``) → expression and source paths."""
        return dict(self._origins)

    @property
    def python(self) -> str:
        """The generated function, for learning and debugging."""
        return self._code.source

    def _every_problem(self, record: Dict[str, Any], names: Dict[str, Any], environment: Environment) -> list[Problem]:
        """Applies field by field; only rejected records pay for it."""
        if self._careful is None:
            self._careful = _writer(self.scope, Faults(), is_careful=True).write(
                self.name, self.spec.fields, self.target.fields, self.target.name
            )
        code = self._careful
        return [problem_of(error, code, _SOMEWHERE) for error in code.run(record, names, environment)]


def compile_mapping(
    spec: MappingSpec,
    entities: Dict[str, Entity],
    functions: FunctionTable | None,
    lookups: Dict[str, Lookup] | None,
    faults: Faults,
) -> Mapping | None:
    """Checks a mapping against both entities and compiles it; None when errors were added to ``faults``.

    The mapping's own ``lookups`` come before the project's.
    """
    before = len(faults.errors)
    source = entities.get(spec.source)
    target = entities.get(spec.target)
    for name, place, found in ((spec.source, spec.source_place, source), (spec.target, spec.target_place, target)):
        if found is None:
            faults.add("mapping.unknown-entity", place, f"There is no entity '{name}'.", did_you_mean(name, entities))
    names = _names(spec, entities, faults)
    if source is None or target is None:
        return None
    scope = Scope(
        source.fields,
        names,
        functions,
        {**(lookups or {}), **spec.lookups},
        entity=source.name,
        key=source.key,
        entities=frozenset(entities),
    )
    writer = _writer(scope, faults)
    try:
        code = writer.write(spec.name, spec.fields, target.fields, target.name)
    except RecursionError:
        faults.add("mapping.too-large", spec.place, "The mapping nests too deep.", "Split it.")
        return None
    if len(faults.errors) > before:
        return None
    return Mapping(spec, source, target, scope, code, writer.origins, writer.c.uses_refs)


def compile_field(scope: Scope, name: str, spec: FieldSpec, field: Field) -> tuple[Code, bool, bool]:
    """One field of a mapping that is known to compile, as a function of its own that gives a dict with this field; whether it
    asks for cross-references; whether it needs the clock or the message."""
    writer = _writer(scope, Faults())
    code = writer.write(name, Group({name: spec}), {name: field}, name)
    return code, writer.c.uses_refs, writer.c.uses_environment


def _writer(scope: Scope, faults: Faults, *, is_careful: bool = False) -> Writer:
    emitter = Emitter()
    emitter.globals.update(GLOBALS)
    return Writer(Compiler(scope, emitter, faults, NOWHERE), is_careful=is_careful)


def _names(spec: MappingSpec, entities: Dict[str, Entity], faults: Faults) -> dict[str, Field]:
    made: dict[str, Field] = {}
    for name, formula in spec.uses.items():
        entity = entities.get(formula.text)
        if entity is None and formula.text != "json":
            hint = did_you_mean(formula.text, [*entities, "json"])
            faults.add("mapping.unknown-entity", formula.place, f"There is no entity '{formula.text}'.", hint)
        made[name] = Field(type=entity.type) if entity is not None else Field(type=Json(), nullable=True)
    return made
