"""Loading folders, building from Python, environments, warnings."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from accord.errors import DeclarationError
from accord.project import Project, check_project, load_project
from accord.project import connectors as connectors_module

FILES = {
    "accord.yaml": """
name: acme
summary: two databases
zone: Europe/Paris
environments:
  default: {}
  test: {systems: {erp: {settings: {url: "sqlite:///test.db"}, rate_limit: {requests: 5, per: 1m}}}}
defaults: {on_error: {attempts: 3}}
lookups:
  units: {pc: piece, kg: kilogram}
  colours: {csv: data/colours.csv, key: code, value: name}
""",
    "data/colours.csv": "code,name\nr,red\n",
    "functions/words.py": '''
from accord.mapping import function


@function(example='shout("a") == "A!"')
def shout(text: str) -> str:
    """The text, loud."""
    return text.upper() + "!"
''',
    "systems/erp.yaml": """
system: erp
connector: sql
settings: {url: "sqlite:///erp.db", password: "${secret:erp}"}
entities:
  items: {key: id, cursor: version, fields: {id: integer, version: integer, name: string, unit: string}}
""",
    "systems/web/shop.yaml": """
system: shop
connector: sql
settings: {url: "sqlite:///shop.db"}
entities:
  products: {key: id, fields: {id: integer, title: string, unit: string?}}
""",
    "mappings/product.yaml": """
mapping: product
from: erp.items
to: shop.products
fields: {id: id, title: shout(name), unit: 'lookup("units", unit)'}
""",
    "flows/products.yaml": """
flow: products
on: {poll: erp.items, every: 30s}
steps:
  - write: shop.products
    mapping: product
    mode: upsert
    guarantee: once
""",
    "flows/nightly.yaml": """
flow: nightly
on: {schedule: "0 2 * * *"}
steps:
  - log: text(scheduled_at)
""",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.lstrip("\n"))
    return tmp_path


SECRETS = {"ACCORD_SECRET_ERP": "s3cret"}


def test_a_folder_becomes_a_project(folder):
    project = load_project(folder, variables=SECRETS)
    assert (project.name, set(project.systems), set(project.mappings)) == ("acme", {"erp", "shop"}, {"product"})
    assert set(project.flows) == {"products", "nightly"}
    assert set(project.entities) == {"erp.items", "shop.products"}
    flow = project.flows["products"]
    assert flow.policy.attempts == 3
    assert flow.effects[0].guarantee == "exactly-once by transaction"
    assert project.flows["nightly"].triggers[0].zone == "Europe/Paris"
    assert project.lookups["colours"].rows == {"r": "red"}
    assert project.mappings["product"].apply({"id": 1, "version": 1, "name": "nut", "unit": "pc"}) == {
        "id": 1,
        "title": "NUT!",
        "unit": "piece",
    }
    assert project.warnings == ()
    assert "s3cret" not in repr(project)


def test_polling_files_that_another_flow_reads_is_a_fault(folder):
    (folder / "systems/drop.yaml").write_text(
        "system: drop\nconnector: files\nsettings: {folder: drop}\n"
        "entities:\n  items: {pattern: '*.csv', key: id, fields: {id: integer}}\n"
    )
    flow = "flow: NAME\non: {TRIGGER: drop.items}\nsteps:\n  - log: text(id)\n"

    def found(*triggers: str) -> list[tuple[str, str]]:
        for name, trigger in zip(("one", "two"), triggers, strict=True):
            (folder / f"flows/{name}.yaml").write_text(flow.replace("NAME", name).replace("TRIGGER", trigger))
        _, faults = check_project(folder, variables=SECRETS)
        return [(f.place.file, f.code) for f in faults.errors]

    assert found("poll", "poll") == [(f"flows/{name}.yaml", "project.shared-poll") for name in ("one", "two")]
    assert found("files", "poll") == [("flows/two.yaml", "project.shared-poll")]
    assert found("files", "files") == []
    (folder / "flows/two.yaml").unlink()
    assert check_project(folder, variables=SECRETS)[1].errors == []


def test_an_environment_changes_systems(folder):
    project = load_project(folder, "test", variables=SECRETS)
    erp = project.systems["erp"]
    assert erp.settings.url == "sqlite:///test.db"
    assert (erp.rate_limit.requests, erp.rate_limit.per_s) == (5, 60.0)
    assert project.environment.name == "test"
    with pytest.raises(DeclarationError, match=r"no environment 'tset'.*'test'"):
        load_project(folder, "tset", variables=SECRETS)


def test_a_missing_secret_is_an_error_to_run_and_a_warning_to_check(folder):
    with pytest.raises(DeclarationError, match=r"systems/erp.yaml:3.*secret"):
        load_project(folder, variables={})
    project, faults = check_project(folder, resolve_secrets=False, variables={})
    assert project is not None
    assert [f.severity for f in faults.found] == ["warning"]


def test_what_nothing_uses_is_warned_of(folder):
    (folder / "flows/products.yaml").unlink()
    project, faults = check_project(folder, variables=SECRETS)
    assert project is not None
    assert {f.what for f in faults.found} == {
        "No flow uses the system 'erp'.",
        "No flow uses the system 'shop'.",
        "No flow uses the mapping 'product'.",
    }


@pytest.mark.parametrize(
    ("replicas", "warned"), [(1, ["project.few-replicas"]), (2, ["project.few-replicas"]), (3, [])]
)
def test_a_log_on_too_few_servers_is_warned_of(folder, replicas, warned):
    file = folder / "accord.yaml"
    store = f"{{kind: jetstream, servers: [nats://n1:4222], replicas: {replicas}}}"
    written = file.read_text()
    file.write_text(written.replace("environments:\n", f"environments:\n  large: {{store: {store}}}\n"))
    assert file.read_text() != written
    _, faults = check_project(folder, "large", variables=SECRETS)
    assert [f.code for f in faults.found] == warned


def test_a_folder_that_is_no_project_says_so(tmp_path):
    project, faults = check_project(tmp_path)
    assert project is None
    assert [f.code for f in faults.found] == ["project.no-project"]
    assert "accord init" in faults.found[0].mend


def test_faults_of_a_system_are_not_told_again_by_what_uses_it(folder):
    (folder / "systems/erp.yaml").write_text("system: erp\nconnector: sql\nsettings: {}\n")
    _, faults = check_project(folder, variables=SECRETS)
    assert {f.place.file for f in faults.errors} == {"systems/erp.yaml"}


def test_a_connector_that_cannot_be_imported_is_a_fault_of_the_system(folder, monkeypatch):
    (folder / "broken_kind.py").write_text("raise RuntimeError('no driver')")
    monkeypatch.syspath_prepend(str(folder))
    entry = EntryPoint("sql", "broken_kind:CONNECTOR", connectors_module.GROUP)
    monkeypatch.setattr(connectors_module, "entry_points", lambda group: [entry])
    try:
        _, faults = check_project(folder, variables=SECRETS)
    finally:
        sys.modules.pop("broken_kind", None)
    found = [f for f in faults.errors if f.code == "project.broken-connector"]
    assert {(f.place.file, f.place.line) for f in found} == {("systems/erp.yaml", 2), ("systems/web/shop.yaml", 2)}
    assert "no driver" in found[0].what
    assert {f.code for f in faults.errors} == {"project.broken-connector"}


def test_a_project_built_in_python_is_the_same(folder):
    built = Project.build(
        {
            "name": "acme",
            "defaults": {"on_error": {"attempts": 3}},
            "lookups": {"units": {"pc": "piece", "kg": "kilogram"}},
        },
        systems=[
            {
                "system": "erp",
                "connector": "sql",
                "settings": {"url": "sqlite:///erp.db"},
                "entities": {
                    "items": {
                        "key": "id",
                        "cursor": "version",
                        "fields": {"id": "integer", "version": "integer", "name": "string", "unit": "string"},
                    }
                },
            },
            {
                "system": "shop",
                "connector": "sql",
                "settings": {"url": "sqlite:///shop.db"},
                "entities": {
                    "products": {"key": "id", "fields": {"id": "integer", "title": "string", "unit": "string?"}}
                },
            },
        ],
        mappings=[
            {
                "mapping": "product",
                "from": "erp.items",
                "to": "shop.products",
                "fields": {"id": "id", "title": "shout(name)", "unit": 'lookup("units", unit)'},
            }
        ],
        flows=[
            {
                "flow": "products",
                "on": {"poll": "erp.items", "every": "30s"},
                "steps": [{"write": "shop.products", "mapping": "product", "mode": "upsert", "guarantee": "once"}],
            }
        ],
        folder=folder,
        variables={},
    )
    loaded = load_project(folder, variables=SECRETS)
    assert built.flows["products"].version == loaded.flows["products"].version
    with pytest.raises(DeclarationError, match="no connector 'sqk'"):
        Project.build({"name": "x"}, systems=[{"system": "a", "connector": "sqk"}], variables={})
