"""The monitor over HTTP, as a browser without JavaScript uses it: pages, forms, and what must not be shown or done."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from journeys.hooks_project import HooksProject, encode, order

MAIL = "marked.person@planted.example"
PAGES = ("/", "/monitor/flows/orders", "/monitor/systems/books", "/monitor/messages", "/monitor/dead")


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, text
    return html.unescape(match[1])


def form_of(page: str) -> str:
    return found(r'name="form" value="(\w+)"', page)


def test_a_dead_letter_is_found_mended_and_replayed(tmp_path: Path) -> None:
    with HooksProject(tmp_path) as project, requests.Session() as browser:
        assert project.hook(encode(order(1, email=MAIL)))[0] == 200
        for number in (2, 3):
            assert project.hook(encode(order(number, email=MAIL, currency="nonsense")))[0] == 200
        project.wait_settled()
        address = project.address
        shown = {path: browser.get(address + path, timeout=20) for path in PAGES}
        for path, page in shown.items():
            assert page.status_code == 200, path
            assert "default-src 'none'" in page.headers["content-security-policy"]
            assert "marked.person" not in page.text, path
        assert "2 dead letters" in shown["/"].text
        assert "exactly-once by transaction" in shown["/monitor/flows/orders"].text
        cause = found(r'href="(/monitor/causes/\w+)"', shown["/monitor/dead"].text)
        letters = browser.get(address + cause, timeout=20).text
        letter = found(r'href="(/monitor/dead/\d+)"', letters)
        whole = browser.get(address + letter + "?reveal=1", timeout=20).text
        record = found(r"<textarea[^>]*>(.*?)</textarea>".replace(".*?", "(?:.|\n)*?"), whole)
        assert "marked.person" in record, "whoever mends a record has asked to see it"
        form = form_of(whole)
        check = browser.post(f"{address}{letter}/check", {"form": form, "body": record}, timeout=20).json()
        assert "currency" in check["problems"][0]
        mended = json.dumps(json.loads(record) | {"currency": "EUR"})
        assert re.search(r"currency</th><td>shape</td><td>text EUR</td><td>text nonsense", html.unescape(whole))
        preview = browser.post(f"{address}{letter}/preview", {"form": form, "body": mended}, timeout=20).text
        shown_preview = html.unescape(preview[preview.index('id="preview"') :])
        assert "books.orders upsert: to be done" in shown_preview and "marked.person" not in shown_preview
        assert 'currency = "EUR"' in shown_preview and "marked.person" in preview, "what is mended stays in the form"
        assert project.rows("SELECT id FROM orders") == [(1,)], "nothing was done"
        assert browser.post(f"{address}{letter}/check", {"form": form, "body": mended}, timeout=20).json() == {
            "problems": []
        }
        after = browser.post(f"{address}{letter}/replay", {"form": form, "body": mended}, timeout=20)
        assert "is on its way again" in after.text
        project.wait_settled()
        assert len(project.rows("SELECT * FROM orders")) == 2
        seq = letter.rpartition("/")[2]
        assert "1.write" in browser.get(f"{address}/monitor/messages/{seq}", timeout=20).text
        again = browser.post(address + cause + "/replay", {"form": form}, timeout=20)
        assert "1 messages are on their way again" in again.text
        project.wait_settled()
        flow = browser.get(address + "/monitor/flows/orders", timeout=20).text
        assert "Replay its dead letters" in flow and "Replay these" in flow
        again = browser.post(address + "/monitor/flows/orders/replay", {"form": form}, timeout=20)
        assert "1 messages are on their way again" in again.text
        project.wait_settled()
        assert re.search(
            r"<title[^>]*>Flow orders, \w+: [\d.]+/s, p95 [\d.]+ m?s, 0 waiting", browser.get(address, timeout=20).text
        )
        assert "operator.acted" in (tmp_path / "accord.log").read_text()


def test_the_way_a_message_went_is_shown(tmp_path: Path) -> None:
    with HooksProject(tmp_path) as project:
        assert project.hook(encode(order(1, email=MAIL, financial_status=MAIL)))[0] == 200
        assert project.hook(encode(order(2, email=MAIL, currency="nonsense")))[0] == 200
        project.wait_settled()
        page = requests.get(f"{project.address}/monitor/messages/1", timeout=20).text
        shown = html.unescape(page)
        assert "exactly-once by transaction" in shown and "books.orders upsert: done" in shown
        assert "currency = " in shown and "total_price" in shown
        assert 'class="waterfall"' in page and re.search(r"<th scope=\"row\">2.write</th><td>[^<]*UTC", page)
        told = project.api("messages/1/trace")
        assert [step["path"] for step in told["steps"]] == ["0.validate", "1.write", "2.write"]
        origins = {origin["target"]: origin for origin in told["steps"][2]["origins"]}
        assert (origins["name"]["value"], origins["name"]["sources"]) == ("#1", {"name": "#1"})
        assert origins["status"]["value"] == "***", "the value of a personal field is masked wherever else it stands"
        refused = project.api("messages/2/trace")["steps"]
        assert [step["outcome"] for step in refused] in ([], ["refused"])
        for seq in (1, 2):
            for path in (f"/monitor/messages/{seq}", f"/monitor/dead/{seq}"):
                assert "marked.person" not in requests.get(project.address + path, timeout=20).text
            assert "marked.person" not in json.dumps(project.api(f"messages/{seq}/trace"))


def test_a_flow_is_paused_and_goes_on(tmp_path: Path) -> None:
    with HooksProject(tmp_path) as project, requests.Session() as browser:
        page = f"{project.address}/monitor/flows/orders"
        form = form_of(browser.get(page, timeout=20).text)
        paused = browser.post(page + "/pause", {"form": form, "reason": "stock taking"}, timeout=20).text
        assert "stock taking" in paused
        assert project.hook(encode(order(1)))[0] == 200
        assert project.rows("SELECT * FROM orders") == []
        resumed = browser.post(page + "/resume", {"form": form}, timeout=20).text
        assert "Pause the flow" in resumed
        project.wait_settled()
        assert len(project.rows("SELECT * FROM orders")) == 1


@pytest.mark.parametrize("form", ["", "0" * 64])
def test_other_sites_can_do_nothing(tmp_path: Path, form: str) -> None:
    with HooksProject(tmp_path) as project:
        page = f"{project.address}/monitor/flows/orders/pause"
        assert requests.post(page, {"form": form}, timeout=20).status_code == 403
        assert requests.get(project.address, headers={"host": "evil.example"}, timeout=20).status_code == 421
        assert project.api("status")["flows"][0]["paused"] is None


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/monitor/nothing", 404),
        ("/monitor/messages/77", 404),
        ("/monitor/messages/x", 400),
        ("/monitor/messages?before=-1", 400),
        ("/monitor/messages?since=noon", 400),
        ("/monitor/messages?source=shop.orders&since=2026-01-01T00:00&until=2040-01-01", 200),
        ("/monitor/messages?state=lost", 400),
        ("/monitor/flows/none", 404),
        ("/monitor/systems/none", 404),
        ("/monitor/causes/none", 404),
        ("/monitor/dead/1", 404),
        ("/monitor/static/monitor.css", 200),
        ("/monitor/static/..%2f__init__.py", 404),
        ("/monitor/static/none.css", 404),
    ],
)
def test_every_address_has_its_answer(project: HooksProject, path: str, status: int) -> None:
    assert requests.get(project.address + path, timeout=20).status_code == status


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory):
    with HooksProject(tmp_path_factory.mktemp("monitor")) as running:
        yield running


def test_beyond_loopback_the_token_is_asked_for(tmp_path: Path) -> None:
    project = HooksProject(tmp_path)
    project.environment["ACCORD_ADDRESS"] = f"0.0.0.0:{project.port}"
    with project, requests.Session() as browser:
        login = project.address + "/monitor/login"
        for path in (*PAGES, "/monitor/messages/1"):
            page = browser.get(project.address + path, timeout=20)
            assert page.status_code == 401
            assert "Sign in" in page.text
        post = browser.post(f"{project.address}/monitor/flows/orders/pause", {"form": ""}, timeout=20)
        assert post.status_code == 401
        assert browser.post(login, {"token": "wrong"}, timeout=20).status_code == 401
        assert browser.post(login, {"token": project.token}, timeout=20).status_code == 200
        assert "Messages" in browser.get(project.address, timeout=20).text
        deadline = time.monotonic() + 10
        while "operator.acted" not in (tmp_path / "accord.log").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert project.token not in (tmp_path / "accord.log").read_text()


def test_a_system_is_tested_from_its_page_and_by_command(tmp_path: Path) -> None:
    with HooksProject(tmp_path) as project, requests.Session() as browser:
        page = f"{project.address}/monitor/systems/books"
        form = form_of(browser.get(page, timeout=20).text)
        assert "Connection test of books: is well" in browser.post(page + "/test", {"form": form}, timeout=20).text
        assert project.api("systems/books/test", "POST")["ok"] is True
        assert project.api("systems/books/troubles") == []
        command = [sys.executable, "-m", "accord.cli.main", "systems", "test"]
        options = {"cwd": tmp_path, "env": project.environment, "capture_output": True, "text": True, "timeout": 60}
        assert subprocess.run([*command, "books"], **options).stdout.startswith("books: is well")
    assert subprocess.run([*command, "books"], **options).stdout.startswith("books: is well"), "without an engine"
    sick = subprocess.run([*command, "shop"], **options)
    assert sick.returncode == 1
    assert sick.stdout.startswith("shop: ")
