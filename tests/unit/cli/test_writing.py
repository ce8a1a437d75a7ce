"""`accord init`, `schema`, `secret`, `map try` and `discover`."""

from __future__ import annotations

import io
import json
import sqlite3
import sys

import pytest
import yaml

from accord.cli.schema import KINDS


def test_init_refuses_what_is_there(run, acme):
    before = sorted(path for path in acme.rglob("*"))
    said = run("init", acme)
    assert said.code == 1
    assert "exists already" in said.err
    assert sorted(path for path in acme.rglob("*")) == before
    said = run("init", acme / "accord.yaml")
    assert said.code == 1


@pytest.mark.parametrize("name", ["1st", "a b", "ä", "x" * 70, "a.b"])
def test_init_refuses_what_cannot_be_a_name(name, run, home):
    said = run("init", home / name)
    assert said.code == 1
    assert "cli.bad-name" in said.err
    assert not (home / name).exists()


def test_init_into_an_empty_folder(run, home, monkeypatch):
    (home / "fresh").mkdir()
    monkeypatch.chdir(home / "fresh")
    assert run("init", ".").code == 0
    assert run("check").code == 0
    assert "name: fresh" in (home / "fresh/accord.yaml").read_text()
    assert "secrets.accord" not in (home / "fresh/.gitignore").read_text()
    assert (home / ".config/accord/fresh.key").stat().st_mode & 0o077 == 0


def test_init_leaves_nothing_when_it_fails(run, home, monkeypatch):
    monkeypatch.setenv("ACCORD_KEY", "nonsense")
    said = run("init", home / "other")
    assert said.code == 1
    assert not (home / "other").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_schema_prints_one(kind, run):
    schema = json.loads(run("schema", kind).out)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["properties"]


def test_schema_knows_connectors_and_steps(run):
    assert '"shopify"' in run("schema", "system").out
    assert '"step write"' in run("schema", "flow").out


def test_schema_writes_all_and_keeps_other_settings(run, acme):
    settings = acme / ".vscode/settings.json"
    settings.write_text('{"editor.tabSize": 2, "yaml.schemas": {"x.json": "x.yaml"}}')
    said = run("schema", "--write", "-p", acme)
    assert said.code == 0
    assert "# yaml-language-server: $schema=../.accord/schemas/flow.json" in said.out
    written = json.loads(settings.read_text())
    assert written["editor.tabSize"] == 2
    assert written["yaml.schemas"]["x.json"] == "x.yaml"
    assert written["yaml.schemas"]["./.accord/schemas/flow.json"] == "flows/**/*.yaml"
    for kind in KINDS:
        assert json.loads((acme / f".accord/schemas/{kind}.json").read_text())["title"]


def test_schema_leaves_settings_with_comments_alone(run, acme):
    settings = acme / ".vscode/settings.json"
    settings.write_text('// mine\n{"a": 1}')
    said = run("schema", "--write", "-p", acme)
    assert said.code == 0
    assert "left alone" in said.out
    assert settings.read_text() == '// mine\n{"a": 1}'


@pytest.mark.parametrize("arguments", [[], ["flow", "--write"], ["nonsense"]])
def test_schema_needs_to_know_what(arguments, run, acme):
    assert run("schema", *arguments, "-p", acme).code == 2


def test_schema_writes_into_projects_only(run, tmp_path):
    said = run("schema", "--write", "-p", tmp_path)
    assert said.code == 1
    assert list(tmp_path.iterdir()) == []


def test_secrets(run, acme, monkeypatch, tmp_path):
    (tmp_path / "value").write_text("hush\n")
    said = run("secret", "set", "token", "--value-from", tmp_path / "value", "-p", acme)
    assert said.out.strip() == "token is set in secrets.accord"
    assert run("secret", "list", "-p", acme).out.split() == ["shop_webhook_secret", "token"]
    assert "hush" not in (acme / "secrets.accord").read_text()
    assert "2 secrets are encrypted with a new key" in run("secret", "rotate", "-p", acme).out
    assert run("check", "-p", acme).code == 0
    assert run("secret", "remove", "token", "-p", acme).code == 0
    said = run("secret", "remove", "tokn", "-p", acme)
    assert said.code == 1
    assert "settings.secret-missing" in said.err
    monkeypatch.setattr(sys, "stdin", io.StringIO("typed\n"))
    monkeypatch.setattr("click.prompt", lambda *a, **k: "typed")
    assert run("secret", "set", "other", "-p", acme).code == 0


def test_secrets_where_no_file_is_declared(run, acme):
    project = acme / "accord.yaml"
    project.write_text(project.read_text().replace(", {file: secrets.accord}", ""))
    said = run("secret", "list", "-p", acme)
    assert said.code == 1
    assert "cli.no-secrets-file" in said.err


def test_map_try_shows_values_and_where_they_come_from(run, acme):
    said = run("map", "try", "order-to-invoice", acme / "examples/order_1001.json", "-p", acme)
    assert said.code == 0
    row = next(line for line in said.out.splitlines() if "lines[1].amount" in line)
    assert "5.50" in row and "quantity * price" in row and "lines[].price" in row


def test_map_try_says_what_is_wrong(run, acme, tmp_path):
    (tmp_path / "x.json").write_text('{"id": "x"}')
    said = run("map", "try", "order-to-invoice", tmp_path / "x.json", "-p", acme)
    assert said.code == 1
    assert "id: " in said.err
    said = run("map", "try", "order-to-invoce", tmp_path / "x.json", "-p", acme)
    assert "Did you mean 'order-to-invoice'?" in said.err
    assert run("map", "try", "order-to-invoice", tmp_path / "x.json", "--ref", "x", "-p", acme).code == 2
    assert run("map", "try", "order-to-invoice", tmp_path / "x.json", "--use", "a=b", "-p", acme).code in (1, 2)


def test_map_try_with_earlier_results(run, acme, tmp_path):
    mapping = acme / "mappings/order-to-invoice.yaml"
    text = mapping.read_text().partition("tests:")[0].replace("customer.name", "parcel.customer")
    mapping.write_text(text + "uses: {parcel: archive.invoices}\n")
    file = acme / "examples/order_1001.json"
    flow = acme / "flows/invoice-paid-orders.yaml"
    flow.unlink()
    said = run("map", "try", "order-to-invoice", file, "-p", acme)
    assert said.code == 2
    assert "--use parcel=FILE" in said.err
    (tmp_path / "parcel.json").write_text('{"customer": "Grace"}')
    said = run("map", "try", "order-to-invoice", file, "--use", f"parcel={tmp_path / 'parcel.json'}", "-p", acme)
    assert said.code == 0, said.text
    assert "Grace" in said.out


def test_discover_what_a_database_holds(run, acme):
    with sqlite3.connect(acme / "erp.db") as database:
        database.execute("CREATE TABLE items (sku VARCHAR(20) PRIMARY KEY, stock INTEGER NOT NULL, note TEXT)")
    database.close()
    (acme / "systems/erp.yaml").write_text("system: erp\nconnector: sql\nsettings: {url: 'sqlite:///erp.db'}\n")
    said = run("discover", "erp", "-p", acme)
    assert said.code == 0, said.text
    items = yaml.safe_load(said.out)["entities"]["items"]
    assert items["key"] == "sku"
    assert items["fields"]["stock"] == "integer"
    assert items["fields"]["note"] == "string?"
    (acme / "systems/erp.yaml").write_text(
        "system: erp\nconnector: sql\nsettings: {url: 'sqlite:///erp.db'}\n" + said.out
    )
    assert run("check", "-p", acme).code == 0


def test_discover_what_cannot_be(run, acme):
    said = run("discover", "archive", "-p", acme)
    assert said.code == 1
    assert "discover" in said.err
    said = run("discover", "archiv", "-p", acme)
    assert "Did you mean 'archive'?" in said.err
