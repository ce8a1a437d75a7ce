"""A flow that was renamed leaves its open messages behind: they are told of, kept, and run when it is back."""

from __future__ import annotations

from pathlib import Path

from journeys.hooks_project import HooksProject, encode, order


def test_open_messages_of_a_missing_flow_are_told_and_kept(tmp_path: Path) -> None:
    project = HooksProject(tmp_path)
    flow = tmp_path / "flows/orders.yaml"
    declared = flow.read_text()
    flow.write_text(declared.replace("steps:\n", "steps:\n  - delay: 1h\n"))
    with project:
        assert project.hook(encode(order(7)))[0] == 200
    flow.write_text(declared.replace("flow: orders", "flow: renamed"))
    with project:
        assert "flow.missing" in (tmp_path / "accord.log").read_text()
        assert project.rows("SELECT count(*) FROM orders") == [(0,)]
    flow.write_text(declared)
    with project:
        state = project.api("messages")[0]["state"]
        assert state == "waiting"  # until its hour is over, also after the flow was gone
