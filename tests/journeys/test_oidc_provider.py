"""Signing in through an identity provider nobody here wrote: npm's oidc-provider, as strict as OpenID Connect asks it to be by default."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from journeys.hooks_project import HooksProject
from servers import free_port, wait_until

PACKAGE = "oidc-provider@8.8.1"
PROVIDER = """
import Provider from 'oidc-provider';
const port = Number(process.env.PORT);
const people = {ada: ['staff', 'ops'], eve: ['guests']};
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{client_id: 'accord', client_secret: 's/cret+', redirect_uris: [process.env.CALLBACK], grant_types: ['authorization_code'],
             response_types: ['code']}],
  claims: {openid: ['sub'], email: ['email'], profile: ['name', 'groups']},
  pkce: {required: () => true},
  findAccount: (ctx, id) => ({accountId: id, claims: () => ({sub: id, email: `${id}@example.com`, groups: people[id] || []})}),
});
provider.listen(port, '127.0.0.1');
"""


@pytest.fixture(scope="module")
def node_modules() -> Path:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip(f"npm and node are not installed (Debian: apt-get install npm): they run {PACKAGE}")
    folder = Path(tempfile.gettempdir()) / f"accord-{PACKAGE.replace('@', '-')}"
    if not (folder / "node_modules" / "oidc-provider" / "package.json").exists():
        folder.mkdir(exist_ok=True)
        command = [npm, "install", PACKAGE, "--silent", "--no-audit", "--no-fund", "--prefix", str(folder)]
        if subprocess.run(command, check=False, timeout=240, stdout=subprocess.DEVNULL).returncode:
            pytest.skip(f"npm cannot fetch {PACKAGE}")
    return folder / "node_modules"


@pytest.fixture
def project(tmp_path: Path, node_modules: Path) -> Iterator[HooksProject]:
    """A project whose people sign in at the provider, both running."""
    project, port = HooksProject(tmp_path / "project"), free_port()
    oidc = (
        f"{{issuer: 'http://127.0.0.1:{port}', client_id: accord, client_secret: '${{secret:oidc}}',"
        " roles: {staff: viewer, ops: operator}}"
    )
    file = project.folder / "accord.yaml"
    file.write_text(file.read_text().replace('api}"}', f'api}}", monitor: {{oidc: {oidc}}}}}'))
    project.environment["ACCORD_SECRET_OIDC"] = "s/cret+"
    script = tmp_path / "provider.mjs"
    script.write_text(PROVIDER)
    (tmp_path / "node_modules").symlink_to(node_modules)
    environment = project.environment | {"PORT": str(port), "CALLBACK": project.address + "/monitor/oidc/callback"}
    with (tmp_path / "provider.log").open("wb") as log:
        provider = subprocess.Popen(["node", script], env=environment, stdout=log, stderr=log)
        try:
            configuration = f"http://127.0.0.1:{port}/.well-known/openid-configuration"
            wait_until("the provider answers", lambda: is_there(configuration), 30)
            with project:
                yield project
        finally:
            provider.kill()
            provider.wait(10)


def is_there(address: str) -> bool:
    try:
        return requests.get(address, timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def sign_in(browser: requests.Session, project: HooksProject, name: str) -> requests.Response:
    """Fills in the forms of the provider, its sign-in and its consent, until it sends the browser back."""
    answer = browser.get(project.address + "/monitor/oidc/begin", timeout=20)
    for fields in ({"prompt": "login", "login": name, "password": "any"}, {"prompt": "consent"}):
        form = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
        assert form is not None, answer.text
        answer = browser.post(form[1], data=fields, timeout=20)
    return answer


def test_people_sign_in_with_the_roles_of_their_groups(project: HooksProject) -> None:
    with requests.Session() as ada, requests.Session() as eve:
        assert sign_in(ada, project, "ada").status_code == 200
        assert "ada@example.com, operator" in ada.get(project.address, timeout=20).text
        refused = sign_in(eve, project, "eve")
        assert refused.status_code == 403
        assert "eve@example.com has no role here" in refused.text
        assert "Sign in with your organisation" in eve.get(project.address, timeout=20).text
    trail = {(one["actor"], one["result"]) for one in project.api("audit?action=sign-in")}
    assert trail == {("ada@example.com", "done"), ("(unknown)", "refused: engine.oidc")}


def test_who_does_not_agree_is_not_let_in(project: HooksProject) -> None:
    with requests.Session() as browser:
        page = browser.get(project.address + "/monitor/oidc/begin", timeout=20)
        abort = re.search(r'href="([^"]+/abort)"', page.text)
        assert abort is not None, page.text
        refused = browser.get(abort[1], timeout=20)
        assert refused.status_code == 403
        assert "access_denied" in refused.text
