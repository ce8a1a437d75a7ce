"""The guide's examples compile, its tests pass, and every error code has its page."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest

from accord.errors import Faults
from accord.flow import kinds as kinds_module
from accord.flow.flowtests import run_flow_tests
from accord.flow.kinds import step_kinds
from accord.project.load import assemble
from accord.project.sources import Sources
from accord.settings.node import Node, parse_yaml

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs/guides/flows.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
SYSTEMS, MAPPING, *EXAMPLES = BLOCKS
HEAD = "flow: example\non: {webhook: shop.orders, topic: orders/create}\nsteps:\n"


def parse(text: str) -> Node:
    faults = Faults()
    node = parse_yaml(text, "guide.yaml", faults)
    faults.raise_if_any()
    assert node is not None
    return node


def compiled(text: str):
    if not text.startswith("flow:"):
        text = HEAD + re.sub(r"^", "  ", text, flags=re.MULTILINE)
    faults = Faults()
    sources = Sources(
        project=Node.of({"name": "guide"}),
        systems=tuple(parse(SYSTEMS).elements()),
        mappings=(parse(MAPPING),),
        flows=(parse(text),),
    )
    project = assemble(sources, "", faults, variables={"ACCORD_SECRET_SHOP_WEBHOOK": "x"})
    assert faults.errors == [], "\n".join(str(f) for f in faults.errors)
    assert project is not None
    return next(iter(project.flows.values()))


@pytest.mark.parametrize("text", EXAMPLES, ids=[text.split("\n")[0] for text in EXAMPLES])
def test_an_example_compiles_and_its_tests_pass(text):
    flow = compiled(text)
    results = run_flow_tests(flow)
    assert [(r.name, [str(d) for d in r.differences], r.problem) for r in results if not r.is_passed] == []
    assert len(results) == text.count("given:")


def test_the_guide_shows_every_step():
    shown = set(re.findall(r"^ *- (\w+):", "\n".join(EXAMPLES), re.MULTILINE))
    assert set(step_kinds(Faults())) <= shown


def test_a_strangers_step_is_one_file_and_an_entry_point(monkeypatch, tmp_path):
    code = re.search(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    assert code is not None
    (tmp_path / "keep_step.py").write_text(code[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = importlib.metadata.EntryPoint("keep", "keep_step:STEP", kinds_module.GROUP)
    broken = importlib.metadata.EntryPoint("gone", "no_such_module:STEP", kinds_module.GROUP)
    found = [*importlib.metadata.entry_points(group=kinds_module.GROUP), entry]
    monkeypatch.setattr(kinds_module, "entry_points", lambda group: found)
    kinds_module._installed.cache_clear()
    try:
        flow = compiled("- keep: [id, total]\n- log: f'{total}'\n")
        assert flow is not None
        found.append(broken)
        kinds_module._installed.cache_clear()
        faults = Faults()
        assert "keep" in step_kinds(faults)
        assert [f.code for f in faults.errors] == ["flow.broken-step"]
        assert "no_such_module" in faults.errors[0].what
    finally:
        kinds_module._installed.cache_clear()


@pytest.mark.parametrize("room", ["flow", "project"])
def test_every_code_has_its_section(room):
    text = "\n".join(path.read_text() for path in (ROOT / "src/accord" / room).rglob("*.py"))
    codes = set(re.findall(rf'"{room}\.([a-z-]+)"', text))
    for noun in ("argument", "field"):
        codes |= {f"{kind}-{noun}" for kind in re.findall(r'f"flow\.([a-z]+)-\{noun\}"', text)}
    sections = set(re.findall(r"^## (\S+)$", (ROOT / f"docs/errors/{room}.md").read_text(), re.MULTILINE))
    assert codes - sections == set()
    assert len(codes) > 5
