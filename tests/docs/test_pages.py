"""Links lead somewhere, YAML on pages is what it is said to be, the command line's page is up to date, nothing local is told."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import jsonschema
import pytest

from accord.cli.reference import page
from accord.errors import Faults
from accord.project.schemas import schema_for
from accord.settings.node import parse_yaml

ROOT = Path(__file__).resolve().parents[2]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    return [ROOT / name for name in listed.decode().split("\0") if name and (ROOT / name).is_file()]


PAGES = sorted({*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "src").rglob("*.md")})
LOADED = re.compile(r"<!-- loads: (\w+) -->\n```yaml\n(.*?)```", re.DOTALL)
EXAMPLES = [(path, kind, text) for path in PAGES for kind, text in LOADED.findall(path.read_text("utf-8"))]


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text("utf-8"), flags=re.DOTALL)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        to = (path.parent / name).resolve() if name else path
        if not to.exists() or (anchor and to.suffix == ".md" and anchor not in anchors(to)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize(("path", "kind", "text"), EXAMPLES, ids=lambda value: getattr(value, "name", "")[:40])
def test_yaml_on_pages_is_what_it_is_said_to_be(path, kind, text):
    faults = Faults()
    node = parse_yaml(text, path.name, faults)
    assert node is not None
    assert faults.found == []
    assert [
        error.message for error in jsonschema.Draft202012Validator(schema_for(kind)).iter_errors(node.plain())
    ] == []


FENCES = [
    (path, text)
    for path in PAGES
    for text in re.findall(r"^```yaml\n(.*?)^```", path.read_text("utf-8"), re.DOTALL | re.MULTILINE)
]


@pytest.mark.parametrize(("path", "text"), FENCES, ids=lambda value: getattr(value, "name", "")[:40])
def test_all_yaml_on_pages_can_be_read(path, text):
    faults = Faults()
    assert parse_yaml(text, path.name, faults) is not None
    assert faults.errors == []


def test_there_are_examples():
    assert {kind for _path, kind, _text in EXAMPLES} >= {"flow", "project"}


def test_the_page_of_commands_is_up_to_date():
    written = (ROOT / "docs/guides/command-line.md").read_text("utf-8")
    assert written == page(), "run: python -m accord.cli.reference > docs/guides/command-line.md"


def test_no_registry_and_no_path_of_a_machine_is_told():
    told = re.compile("|".join([r"pypi\.or" + "g", r"pythonhosted\.or" + "g", r"registry\.npmj" + "s", r"deb\.debia" + "n",
                                r"(?<![\w.])/wor" + "k/", r"(?<![\w.])/far" + "m/", "/tmp/brie" + "f"]))  # fmt: skip
    found = []
    for path in tracked():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in told.finditer(text)]
    assert found == []
