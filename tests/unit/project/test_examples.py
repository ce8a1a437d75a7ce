"""The tests of a project's mappings and flows, with their files."""

from __future__ import annotations

from accord.errors import Place
from accord.project import Project
from accord.project.examples import example_reader
from accord.project.trials import run_trials

SYSTEMS = [
    {
        "system": "erp",
        "connector": "sql",
        "settings": {"url": "sqlite:///erp.db"},
        "entities": {
            "items": {"key": "id", "fields": {"id": "integer", "name": "string"}},
            "parts": {"key": "id", "fields": {"id": "integer", "title": "string"}},
        },
    }
]


def test_tests_of_mappings_and_flows_run_together(tmp_path):
    (tmp_path / "item.json").write_text('{"id": 1, "name": "nut"}')
    project = Project.build(
        {"name": "x"},
        systems=SYSTEMS,
        mappings=[
            {
                "mapping": "part",
                "from": "erp.items",
                "to": "erp.parts",
                "fields": {"id": "id", "title": "upper(name)"},
                "tests": [
                    {"given": "item.json", "expect": {"title": "NUT"}},
                    {"given": "item.json", "expect": {"title": "BOLT"}},
                ],
            }
        ],
        flows=[
            {
                "flow": "copy",
                "on": {"manual": "erp.items"},
                "steps": [{"write": "erp.parts", "mapping": "part"}],
                "tests": [
                    {"given": "item.json", "expect": {"writes": [{"to": "erp.parts", "record": {"title": "NUT"}}]}},
                    {"name": "wrong", "given": "item.json", "expect": {"writes": [{"record": {"title": "BOLT"}}]}},
                    {"given": "gone.json", "expect": {}},
                ],
            }
        ],
        folder=tmp_path,
        variables={},
    )
    results = list(run_trials(project))
    assert [(r.kind, r.of, r.is_passed) for r in results] == [
        ("mapping", "part", True),
        ("mapping", "part", False),
        ("flow", "copy", True),
        ("flow", "copy", False),
        ("flow", "copy", False),
    ]
    assert "BOLT" in results[1].differences[0].expected
    assert results[3].differences[0].path == "writes[0].record.title"
    assert "gone.json" in results[4].problem


def test_a_file_beside_the_declaration_goes_first_and_none_is_read_outside(tmp_path):
    project = tmp_path / "project"
    (project / "flows").mkdir(parents=True)
    (tmp_path / "secret.json").write_text("outside")
    (project / "a.json").write_text("in the project")
    read = example_reader(project, Place("flows/f.yaml", 3))
    assert read("a.json") == b"in the project"
    (project / "flows/a.json").write_text("beside")
    assert read("a.json") == b"beside"
    assert read("../a.json") == b"in the project"
    for name in ("../../secret.json", "../secret.json", str(tmp_path / "secret.json"), "gone.json"):
        try:
            found = read(name)
        except OSError:
            continue
        raise AssertionError(f"{name} was read: {found!r}")
