"""The tests beside mappings and flows, run for a whole project with no system running."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import msgspec

from accord.errors import Place
from accord.flow.flowtests import run_flow_tests
from accord.mapping.samples import run_tests
from accord.project.project import Project

FILE_SIZE_BYTES_MAX = 20_000_000


class ExampleResult(msgspec.Struct, frozen=True, kw_only=True):
    """One test. ``kind``: mapping | flow; ``owner``: its name. ``problems``: what differs, field by field, or why the test could
    not be judged; none when it passed."""

    kind: str
    owner: str
    name: str
    place: Place
    problems: tuple[str, ...] = ()

    @property
    def is_passed(self) -> bool:
        return not self.problems


def run_examples(project: Project) -> list[ExampleResult]:
    """Runs every test declared in the project: mappings first, then flows, by name."""
    found: list[ExampleResult] = []
    for name, mapping in sorted(project.mappings.items()):
        for one in run_tests(mapping, example_reader(project.folder, mapping.spec.place)):
            problems = [str(difference) for difference in one.differences] + ([one.error] if one.error else [])
            found.append(
                ExampleResult(kind="mapping", owner=name, name=one.name, place=one.place, problems=tuple(problems))
            )
    for name, flow in sorted(project.flows.items()):
        for result in run_flow_tests(flow, example_reader(project.folder, flow.place)):
            problems = [str(difference) for difference in result.differences]
            problems += [result.problem] if result.problem else []
            found.append(
                ExampleResult(kind="flow", owner=name, name=result.name, place=result.place, problems=tuple(problems))
            )
    return found


def example_reader(folder: Path, place: Place) -> Callable[[str], bytes]:
    """Reads files a declaration at ``place`` names: beside the declaration's own file if there is one, else in the project's
    folder. The function raises OSError for what is not there, lies outside the project or is too large."""

    def read(name: str) -> bytes:
        beside = folder / Path(place.file).parent / name
        path = beside if beside.is_file() else folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise OSError(errno.EACCES, "it lies outside the project", name)
        if path.stat().st_size > FILE_SIZE_BYTES_MAX:
            raise OSError(errno.EFBIG, f"it is larger than {FILE_SIZE_BYTES_MAX} bytes", name)
        return path.read_bytes()

    return read
