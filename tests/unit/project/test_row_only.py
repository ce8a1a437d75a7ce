"""The check tells what of a bulk flow runs row by row."""

from __future__ import annotations

from accord.project import check_project

FILES = {
    "accord.yaml": "name: acme\n",
    "systems/share.yaml": """
system: share
connector: files
settings: {folder: share}
entities:
  orders: {pattern: in/*.csv, key: id, fields: {id: integer, name: string}}
""",
    "systems/warehouse.yaml": """
system: warehouse
connector: sql
settings: {url: "sqlite:///warehouse.db"}
entities:
  slugs: {key: id, fields: {id: integer, slug: string}}
""",
    "mappings/slugs.yaml": """
mapping: slugs
from: share.orders
to: warehouse.slugs
fields: {id: id, slug: slug(name)}
""",
}
FLOWS = {
    "bulk": "flow: nightly\non: manual\nread: {entity: share.orders}\nsteps: [{write: warehouse.slugs, mapping: slugs}]\n",
    "messages": "flow: nightly\non: {files: share.orders}\nsteps: [{write: warehouse.slugs, mapping: slugs}]\n",
}


def warnings_of(folder, flow):
    for name, text in {**FILES, "flows/nightly.yaml": flow}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "share").mkdir()
    project, faults = check_project(folder)
    assert project is not None, [str(fault) for fault in faults.found]
    return [fault for fault in faults.found if fault.code == "mapping.row-only"]


def test_a_part_without_column_form_is_a_warning_in_a_bulk_flow(tmp_path):
    (warning,) = warnings_of(tmp_path, FLOWS["bulk"])
    assert warning.severity == "warning" and warning.place.file == "mappings/slugs.yaml"
    assert "'(slug(name))' has the function slug()" in warning.what


def test_flows_of_messages_have_no_such_warning(tmp_path):
    assert warnings_of(tmp_path, FLOWS["messages"]) == []
