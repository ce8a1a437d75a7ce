"""`accord check` and `accord test`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

BUSINESS = Path(__file__).resolve().parents[3] / "examples" / "business"


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_project_without_fault(run, acme):
    said = run("check", "-p", acme)
    assert said.code == 0
    assert "exactly-once by upsert" in said.out
    assert "no faults, 0 warnings: 2 systems, 1 mapping, 1 flow" in said.out


def test_every_fault_with_file_and_line(run, acme):
    change(acme / "mappings/order-to-invoice.yaml", "order_id: id", "order_id: idd")
    change(acme / "flows/invoice-paid-orders.yaml", "validate:", "validat:")
    said = run("check", "-p", acme)
    assert said.code == 1
    assert "mappings/order-to-invoice.yaml:6: " in said.out
    assert "flows/invoice-paid-orders.yaml:8: " in said.out
    assert "Did you mean 'validate'?" in said.out
    assert said.out.splitlines()[-1].startswith("2 faults")


def test_faults_and_effects_for_programs(run, acme):
    good = json.loads(run("check", "-p", acme, "--json").out)
    assert good["faults"] == []
    assert good["effects"][0]["target"] == "archive.invoices"
    (acme / "flows/broken.yaml").write_text("flow: [x\n")
    said = run("check", "-p", acme, "--json")
    assert said.code == 1
    assert json.loads(said.out)["faults"][0]["place"]["file"] == "flows/broken.yaml"


@pytest.mark.parametrize(
    "raw", [b"flow: [x\n", b"\xff\xfe\x00flow", b"flow: x\nflow: y\n", b"- a\n", b"7\n", b"a: &a [*a]\n", b"\t: x\n"]
)
def test_a_file_that_is_no_flow(raw, run, acme):
    (acme / "flows/broken.yaml").write_bytes(raw)
    said = run("check", "-p", acme)
    assert said.code == 1
    assert "flows/broken.yaml" in said.out


def test_nothing_is_told_twice(run, acme):
    (acme / "flow").mkdir()
    (acme / "extra.yaml").write_text("a: 1\n")
    said = run("check", "-p", acme)
    lines = [line for line in said.out.splitlines() if line.startswith("warning: ")]
    assert len(lines) == 2
    assert len(set(lines)) == len(lines)
    assert "no faults, 2 warnings" in said.out


def test_secrets_are_needed_unless_told_otherwise(run, acme, home):
    for key in (home / ".config").rglob("*.key"):
        key.unlink()
    said = run("check", "-p", acme)
    assert said.code == 1
    assert "ACCORD_KEY" in said.out
    said = run("check", "-p", acme, "--no-secrets")
    assert said.code == 0
    assert "warning: " in said.out


def test_an_environment_that_is_not_declared(run, acme):
    said = run("check", "-p", acme, "--env", "prodution")
    assert said.code == 1
    assert "settings.unknown-environment" in said.out


def test_examples_pass_without_secrets(run, acme, home):
    for key in (home / ".config").rglob("*.key"):
        key.unlink()
    said = run("test", "-p", acme)
    assert said.code == 0
    assert said.out.strip() == "4 passed, 0 failed"


def test_the_business_passes_without_secrets_and_variables(run, home):
    said = run("test", "-p", BUSINESS)
    assert said.code == 0, said.text
    assert ", 0 failed" in said.out


def test_a_difference_is_shown_field_by_field(run, acme):
    change(acme / "mappings/order-to-invoice.yaml", "total: 45.50", "total: 45.60")
    said = run("test", "-p", acme)
    assert said.code == 1
    assert "failed mappings/order-to-invoice.yaml:16: mapping order-to-invoice: a paid order" in said.out
    row = next(line for line in said.out.splitlines() if "45.60" in line)
    assert "total" in row and "45.50" in row
    assert "3 passed, 1 failed" in said.out


def test_results_for_programs(run, acme):
    change(acme / "flows/invoice-paid-orders.yaml", "record: {number: INV-1001", "record: {number: INV-7")
    said = run("test", "-p", acme, "--json")
    assert said.code == 1
    result = json.loads(said.out)
    assert (result["passed"], result["failed"]) == (3, 1)
    failed = [test for test in result["tests"] if not test["passed"]]
    assert failed[0]["kind"] == "flow"
    assert failed[0]["file"] == "flows/invoice-paid-orders.yaml"
    assert failed[0]["differences"] == [{"path": "writes[0].record.number", "expected": "'INV-7'", "got": "'INV-1001'"}]


def test_a_test_that_cannot_be_judged_says_why(run, acme):
    change(acme / "mappings/order-to-invoice.yaml", "order_1001.json", "nothing.json")
    change(acme / "flows/invoice-paid-orders.yaml", "answers: {archive.invoices: {}}", "answers: {archive.invoces: {}}")
    said = run("test", "-p", acme)
    assert said.code == 1
    assert "nothing.json" in said.out
    assert "archive.invoces" in said.out


def test_some_by_name(run, acme):
    assert run("test", "-p", acme, "invoice_number").out.strip() == "1 passed, 0 failed"
    assert run("test", "-p", acme, "order-to-invoice", "invoice-paid-orders").out.strip() == "3 passed, 0 failed"
    said = run("test", "-p", acme, "order-to-invoce")
    assert said.code == 1
    assert "Did you mean 'order-to-invoice'?" in said.err


def test_an_example_of_a_function_that_is_not_true(run, acme):
    change(acme / "functions/numbers.py", '== "INV-1001"', '== "INV-1"')
    said = run("test", "-p", acme)
    assert said.code == 1
    assert "functions/numbers.py:" in said.err and "is not true" in said.err


def test_no_examples_is_said(run, acme):
    for name in ("mappings/order-to-invoice.yaml", "flows/invoice-paid-orders.yaml"):
        path = acme / name
        path.write_text(path.read_text().partition("tests:")[0])
    change(acme / "mappings/order-to-invoice.yaml", "invoice_number(number)", "number")
    (acme / "functions/numbers.py").unlink()
    said = run("test", "-p", acme)
    assert said.code == 0
    assert "no examples yet" in said.out
