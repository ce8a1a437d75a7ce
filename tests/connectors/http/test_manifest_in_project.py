"""A project whose system file names a manifest."""

from __future__ import annotations

from pathlib import Path

from accord.project.load import check_project

MANIFEST = """
settings:
  address: https://inventory.example
  operations:
    decrease: {path: "/items/{sku}/decrease", takes: {sku: string, by: integer}}
entities:
  items: {key: sku, path: /items, list: items, fields: {sku: string, on_hand: integer}}
"""


def project(folder: Path, manifest: str) -> Path:
    (folder / "systems").mkdir()
    (folder / "manifests").mkdir()
    (folder / "accord.yaml").write_text("name: acme\n")
    (folder / "manifests" / "inventory.yaml").write_text(manifest)
    text = "system: inventory\nconnector: http\nsettings:\n  manifest: manifests/inventory.yaml\n  check_path: /up\n"
    (folder / "systems" / "inventory.yaml").write_text(text)
    return folder


def test_its_entities_and_operations_are_the_systems(tmp_path: Path) -> None:
    found, faults = check_project(project(tmp_path, MANIFEST))
    assert found is not None and not faults.errors, faults.found
    system = found.systems["inventory"]
    assert list(system.entities) == ["items"]
    assert list(system.kind.operations(system.settings)) == ["decrease"]
    assert (system.settings.address, system.settings.check_path) == ("https://inventory.example", "/up")


def test_its_faults_name_its_own_lines(tmp_path: Path) -> None:
    _, faults = check_project(project(tmp_path, MANIFEST.replace("{sku}/decrease", "{sku_}/decrease")))
    (fault,) = faults.errors
    assert fault.code == "connector.placeholder"
    assert (fault.place.file, fault.place.line) == ("manifests/inventory.yaml", 5)
