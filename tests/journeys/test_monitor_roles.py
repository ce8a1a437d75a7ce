"""Declared users on pages and on the control API: what a role may do, and the trail of who did what."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests

from accord.engine.operators.passwords import hash_password
from identity_provider import identity_provider
from journeys.hooks_project import HooksProject, encode, order

ROLES = ("viewer", "operator", "admin")
PASSWORD = "four words in row"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory):
    project = HooksProject(tmp_path_factory.mktemp("roles"))
    users = "".join(f"{{name: {role}, password_hash: '${{secret:hash}}', role: {role}}}, " for role in ROLES)
    file = project.folder / "accord.yaml"
    file.write_text(file.read_text().replace('api}"}', f'api}}", monitor: {{users: [{users}]}}}}'))
    project.environment["ACCORD_SECRET_HASH"] = hash_password(PASSWORD)
    with project:
        yield project


def signed_in(project: HooksProject, name: str) -> requests.Session:
    browser = requests.Session()
    given = {"name": name, "password": PASSWORD}
    answer = browser.post(project.address + "/monitor/login", given, timeout=20)
    assert answer.status_code == 200, answer.text
    return browser


def form_of(browser: requests.Session, page: str) -> str:
    text = browser.get(page, timeout=20).text
    return text.partition('name="form" value="')[2].partition('"')[0]


def test_a_role_sees_and_does_what_it_may(project: HooksProject) -> None:
    assert requests.get(project.address, timeout=20).status_code == 401, "also on a loopback address"
    assert project.hook(encode(order(1, currency="nonsense", email="marked@planted.example")))[0] == 200
    project.wait_settled()
    seq = project.api("dead-letters")[0]["seq"]
    flow, letter = f"{project.address}/monitor/flows/orders", f"{project.address}/monitor/dead/{seq}"
    pages: dict[str, dict[str, int]] = {}
    for role in ROLES:
        with signed_in(project, role) as browser:
            assert f"{role}, {role}" in browser.get(flow, timeout=20).text
            form = {"form": form_of(browser, flow)}
            pages[role] = {
                "flow": browser.get(flow, timeout=20).status_code,
                "reveal": browser.get(letter + "?reveal=1", timeout=20).status_code,
                "audit": browser.get(project.address + "/monitor/audit", timeout=20).status_code,
                "pause": browser.post(flow + "/pause", form, timeout=20).status_code,
                "resume": browser.post(flow + "/resume", form, timeout=20).status_code,
                "discard": browser.post(letter + "/discard", form, timeout=20).status_code,
            }
            assert ("Pause the flow" in browser.get(flow, timeout=20).text) is (role != "viewer")
    every = dict.fromkeys(("flow", "reveal", "audit", "pause", "resume", "discard"), 200)
    assert pages == {
        "viewer": {**every, "reveal": 403, "audit": 403, "pause": 403, "resume": 403, "discard": 403},
        "operator": {**every, "audit": 403, "discard": 403},
        "admin": every,
    }
    trail = {(one["actor"], one["action"], one["object"], one["result"]) for one in project.api("audit?limit=200")}
    assert ("viewer", "pause", "flows/orders", "refused (403)") in trail
    assert ("operator", "pause", "flows/orders", "done") in trail
    assert ("operator", "discard", f"dead/{seq}", "refused (403)") in trail
    assert ("admin", "discard", f"dead/{seq}", "done") in trail
    assert ("admin", "sign-in", "", "done") in trail


def test_the_api_knows_users_and_their_roles(project: HooksProject) -> None:
    def asked(role: str, method: str, path: str, password: str = PASSWORD) -> int:
        return requests.request(method, f"{project.address}/api/{path}", auth=(role, password), timeout=20).status_code

    assert asked("viewer", "GET", "status") == 200
    assert asked("viewer", "GET", "status", "wrong password") == 401
    assert asked("viewer", "GET", "dead-letters?payload=1") == 403
    assert asked("viewer", "POST", "systems/books/pause") == 403
    assert asked("operator", "POST", "systems/books/pause") == 200
    assert asked("operator", "POST", "systems/books/resume") == 200
    assert asked("operator", "POST", "messages/cancel?flow=orders&state=held") == 403
    assert asked("admin", "POST", "messages/cancel?flow=orders&state=held") == 200
    assert asked("operator", "GET", "audit") == 403
    newest = requests.get(
        project.address + "/api/audit?actor=admin&action=cancel", auth=("admin", PASSWORD), timeout=20
    ).json()[0]
    assert newest["object"] == "messages flow=orders state=held"
    assert newest["address"] == "127.0.0.1"


def test_commands_are_in_the_trail_too(project: HooksProject) -> None:
    def run(*arguments: str, stdin: str = "") -> str:
        command = [sys.executable, "-m", "accord.cli.main", *arguments]
        done = subprocess.run(
            command,
            env=project.environment,
            cwd=project.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("pause", "--system", "books")
    run("resume", "--system", "books")
    newest = run("audit", "list", "--json", "--limit", "2")
    assert '"via":"command-line"' in newest
    assert '"action":"resume","object":"systems/books","result":"done"' in newest
    assert run("monitor", "hash-password", stdin="four words in row\n").startswith("scrypt:")


def test_signing_out_ends_what_the_browser_has(project: HooksProject) -> None:
    with signed_in(project, "viewer") as browser:
        form = form_of(browser, project.address)
        assert browser.post(project.address + "/monitor/logout", {"form": form}, timeout=20).status_code == 401
        assert "accord_session" not in browser.cookies


def test_an_identity_provider_lets_people_in(tmp_path: Path) -> None:
    project = HooksProject(tmp_path)
    with identity_provider() as identity:
        oidc = f"{{issuer: '{identity.issuer}', client_id: accord, client_secret: '${{secret:oidc}}', roles: {{staff: viewer}}}}"
        file = tmp_path / "accord.yaml"
        file.write_text(file.read_text().replace('api}"}', f'api}}", monitor: {{oidc: {oidc}}}}}'))
        project.environment["ACCORD_SECRET_OIDC"] = "s/cret"
        with project, requests.Session() as browser:
            assert "Sign in with your organisation" in browser.get(project.address, timeout=20).text
            begin = browser.get(project.address + "/monitor/oidc/begin", timeout=20, allow_redirects=False)
            address = begin.headers["location"]
            callback = {"code": identity.authorize(address), "state": dict(parse_qsl(urlsplit(address).query))["state"]}
            stranger = requests.get(project.address + "/monitor/oidc/callback", callback, timeout=20)
            assert stranger.status_code == 403, "another browser"
            assert (
                browser.get(project.address + "/monitor/oidc/callback", params=callback, timeout=20).status_code == 200
            )
            assert "ada@example.com, viewer" in browser.get(project.address, timeout=20).text
            assert browser.get(project.address + "/monitor/audit", timeout=20).status_code == 403
            entry = project.api("audit?action=sign-in&actor=ada@example.com")[0]
            assert (entry["role"], entry["via"], entry["result"]) == ("viewer", "oidc", "done")
