"""The stream of figures: what changes reaches an open page, many pages are bounded, and a stop does not wait for them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from accord.monitor.live import PAGES_MAX
from journeys.hooks_project import HooksProject, encode, order


def opened(project: HooksProject) -> requests.Response:
    return requests.get(project.address + "/monitor/events", stream=True, timeout=30)


def figures(answer: requests.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines(chunk_size=1):
        if line.startswith(b"data: "):
            yield json.loads(line[6:])


@pytest.mark.parametrize("workers", [1, 2])
def test_what_happens_reaches_an_open_page(tmp_path: Path, workers: int) -> None:
    with HooksProject(tmp_path, workers=workers) as project, opened(project) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        told = figures(answer)
        first = next(told)
        assert first["flow:orders"]["done"] == "0"
        assert first["system:books"]["state"] == "well"
        assert project.hook(encode(order(1)))[0] == 200
        assert project.hook(encode(order(2, currency="nonsense")))[0] == 200
        later = next(one for one in told if one["flow:orders"]["done"] == "1" and one["all"]["dead"] == "1")
        assert later["flow:orders"]["dead"] == "1"
        began = time.monotonic()
        project.process.terminate()
        assert list(told) is not None, "the stream ends by itself"
        project.process.wait(20)
        assert time.monotonic() - began < 15, "the drain does not wait for pages"


def test_pages_are_bounded_and_let_go(tmp_path: Path) -> None:
    with HooksProject(tmp_path) as project:
        pages = [opened(project) for _ in range(PAGES_MAX)]
        try:
            assert {page.status_code for page in pages} == {200}
            with opened(project) as refused:
                assert refused.status_code == 503
        finally:
            for page in pages:
                page.close()
        deadline = time.monotonic() + 20
        while True:
            with opened(project) as again:
                if again.status_code == 200:
                    break
            assert time.monotonic() < deadline, "those that have gone make room"
            time.sleep(0.1)
        assert project.hook(encode(order(1)))[0] == 200
