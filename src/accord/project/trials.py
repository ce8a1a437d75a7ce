"""Every example of a project, run without any system: those beside mappings and flows, and those of its own functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from accord.errors import NOWHERE, AccordError, Place, did_you_mean
from accord.flow.flowtests import run_flow_tests
from accord.mapping.samples import run_tests
from accord.project.examples import example_reader
from accord.project.project import Project


class TrialDifference(msgspec.Struct, frozen=True):
    """One field that is not as expected, both values as they are shown."""

    path: str
    expected: str
    got: str


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One example that ran. ``kind``: mapping | flow | function; ``of`` its name. It failed when there are ``differences`` or a
    ``problem`` (why it could not be judged)."""

    kind: str
    of: str
    name: str
    place: Place = NOWHERE
    differences: tuple[TrialDifference, ...] = ()
    problem: str = ""

    @property
    def is_passed(self) -> bool:
        return not self.differences and not self.problem


def run_trials(project: Project, names: Iterable[str] = ()) -> Iterator[Trial]:
    """Runs the examples of ``names`` (mappings, flows, functions), of all when none is given.

    A file named by ``given`` is looked for beside the file that names it, then in the project's folder. Raises AccordError for a
    name that is none of the project's.
    """
    own = {function.name: function for function in project.functions if function.is_project}
    wanted = set(names)
    for name in sorted(wanted):
        known = {*project.mappings, *project.flows, *own}
        if name not in known:
            what = f"There is no mapping, flow or function '{name}' to test."
            raise AccordError(what, mend=did_you_mean(name, known), code="project.unknown-test")
    for name, mapping in project.mappings.items():
        if not wanted or name in wanted:
            for sample in run_tests(mapping, example_reader(project.folder, mapping.spec.place)):
                differences = tuple(TrialDifference(d.path, d.expected, d.got) for d in sample.differences)
                yield Trial(
                    kind="mapping",
                    of=name,
                    name=sample.name,
                    place=sample.place,
                    differences=differences,
                    problem=sample.error,
                )
    for name, flow in project.flows.items():
        if not wanted or name in wanted:
            for result in run_flow_tests(flow, example_reader(project.folder, flow.place)):
                differences = tuple(TrialDifference(d.path, d.expected, d.actual) for d in result.differences)
                yield Trial(
                    kind="flow",
                    of=name,
                    name=result.name,
                    place=result.place,
                    differences=differences,
                    problem=result.problem,
                )
    for name, function in own.items():  # their examples ran when the project was loaded: a false one is a fault of it
        if not wanted or name in wanted:
            yield Trial(kind="function", of=name, name=function.example, place=Place(function.file, function.line))
