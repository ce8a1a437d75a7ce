"""Pages of an engine of several workers: whichever answers shows and does the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import requests

from journeys.hooks_project import HooksProject, encode, order


def test_every_worker_shows_and_does_the_same(tmp_path: Path) -> None:
    with HooksProject(tmp_path, workers=2) as project:
        for number in range(20):
            assert project.hook(encode(order(number + 1, currency="EUR" if number else "nonsense")))[0] == 200
        project.wait_settled()
        cookie = {}
        for _ in range(6):  # each on a connection of its own
            page = requests.get(project.address + "/", timeout=20, cookies=cookie)
            assert page.status_code == 200
            cookie |= page.cookies.get_dict()
            assert "1 dead letter" in page.text
            shown = requests.get(project.address + "/monitor/messages", timeout=20, cookies=cookie).text
            assert len(re.findall(r'<a href="/monitor/messages/\d+">', shown)) == 20
        traces = [project.api(f"messages/{row['seq']}/trace") for row in project.api("messages?state=done")]
        assert {len(trace["steps"]) for trace in traces} == {3}
        attempts = [[(one["path"], one["outcome"]) for one in trace["attempts"]] for trace in traces]
        assert [("1.write", "done"), ("2.write", "done")] in attempts, (
            "the owner has them in memory, unless the part has moved"
        )
        flow = project.address + "/monitor/flows/orders"
        form = re.search(r'name="form" value="(\w+)"', requests.get(flow, timeout=20, cookies=cookie).text)
        assert form is not None
        done = requests.post(flow + "/pause", {"form": form[1]}, timeout=20, cookies=cookie)
        assert "Resume the flow" in done.text
        deadline = time.monotonic() + 20  # the others look at the journal every second
        while not all("Resume the flow" in requests.get(flow, timeout=20, cookies=cookie).text for _ in range(6)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        entries = [project.api("audit?action=pause") for _ in range(4)]
        assert all(len(each) == 1 for each in entries), "one file, whichever worker is asked"
    command = [sys.executable, "-m", "accord.cli.main", "history", "flow", "orders", "--json"]
    told = subprocess.run(command, cwd=tmp_path, env=project.environment, capture_output=True, check=True, timeout=60)
    history = json.loads(told.stdout)
    counts = {name: sum(point[name] for point in history["points"]) for name in ("done", "failed")}
    assert counts == {"done": 19, "failed": 1}, "kept after the end, of all workers together"
    assert history["steps"]["1.write"]["done"] == 19
    assert history["steps"]["1.write"]["p95_s"] > 0
