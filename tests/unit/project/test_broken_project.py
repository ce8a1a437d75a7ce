"""Every planted fault of ``broken-project`` is found: file, line, code, and a sentence that names the offender."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from accord.errors import Fault
from accord.project import check_project

FOLDER = Path(__file__).parent / "broken-project"
_PLANTED = re.compile(r"# PLANTED (\S+) (.+?)\s*$")
PLANTED = [
    (path.relative_to(FOLDER).as_posix(), number, found[1], found[2])
    for path in sorted(FOLDER.rglob("*"))
    if path.suffix in (".yaml", ".py")
    for number, line in enumerate(path.read_text().splitlines(), 1)
    if (found := _PLANTED.search(line))
]


@pytest.fixture(scope="module")
def faults() -> list[Fault]:
    project, found = check_project(FOLDER, resolve_secrets=False, variables={})
    assert project is None
    return found.found


def test_at_least_forty_faults_are_planted():
    assert len(PLANTED) >= 40


@pytest.mark.parametrize(("file", "line", "code", "offender"), PLANTED, ids=[f"{p[0]}:{p[1]}-{p[2]}" for p in PLANTED])
def test_the_fault_is_reported_at_its_line_and_names_the_offender(faults, file, line, code, offender):
    here = [fault for fault in faults if (fault.place.file, fault.place.line) == (file, line)]
    fitting = [fault for fault in here if fault.code == code and offender in fault.what + fault.mend]
    assert fitting, f"found at this line: {[str(fault) for fault in here]}"
    assert len(fitting[0].what.split()) >= 4
    assert fitting[0].what[0].isupper() or fitting[0].what[0] in "'`" or offender in fitting[0].what


def test_nothing_is_reported_that_was_not_planted(faults):
    planted = {(file, line) for file, line, _, _ in PLANTED}
    others = [str(f) for f in faults if f.severity == "error" and (f.place.file, f.place.line) not in planted]
    assert others == []


def test_typos_get_a_suggestion(faults):
    mends = {(f.place.file, f.place.line): f.mend for f in faults}
    assert "'shop.customers'" in mends["systems/shop.yaml", 21]
    assert "'sql'" in mends["systems/erp.yaml", 2]
    assert "'orders/create'" in mends["flows/triggers.yaml", 3]
    assert "'filter'" in mends["flows/orders.yaml", 8]
    assert "'take_stock'" in mends["flows/orders.yaml", 11]
    assert "'invoices'" in mends["flows/writes.yaml", 4]
    assert "'good'" in mends["flows/writes.yaml", 7]


def test_files_that_are_not_read_are_warned_of(faults):
    warned = {f.place.file for f in faults if f.severity == "warning" and f.code == "project.unread-file"}
    assert warned == {"systems/old.yml", "system"}
