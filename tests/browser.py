"""A real browser for tests: Debian's Chromium, driven by Playwright, with nothing but the machine's own addresses to reach."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from servers import need_chromium

WAIT_MS = 30_000  # for a page or an element; a busy machine is no fault of a page
WIDE, NARROW = 1280, 390
GRAVE = ("serious", "critical")


@contextmanager
def running_browser() -> Iterator[Browser]:
    program = need_chromium()
    expect.set_options(timeout=WAIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, timeout=WAIT_MS)
        try:
            yield browser
        finally:
            browser.close()


LOOKS = (
    "color-contrast",
    "target-size",
    "scrollable-region-focusable",
    "link-in-text-block",
)  # what colours and width change


@contextmanager
def open_page(
    browser: Browser, *, width: int = WIDE, scheme: str = "light", with_script: bool = True
) -> Iterator[Page]:
    """``scheme``: light or dark. What the page's script or its policy complains of fails the test at the end."""
    context = browser.new_context(
        viewport={"width": width, "height": 844},
        color_scheme="dark" if scheme == "dark" else "light",
        java_script_enabled=with_script,
    )
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    try:
        yield page
    finally:
        context.close()
    assert not complaints, complaints


def grave_faults(page: Page, *rules: str) -> list[str]:
    """What axe-core calls serious or critical (of ``rules``, else of all): rule, what it says, and the elements."""
    options: dict[str, object] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": rules}
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{page.url}: {one['id']}: {one['help']}: {[node['html'][:160] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in GRAVE
    ]


class Camera:
    """Keeps pictures when the tests were asked for them (``--pictures``)."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder).absolute() if folder else None

    def take(self, page: Page, name: str) -> None:
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=self.folder / f"{name}.png", animations="disabled")


@pytest.fixture(scope="session")
def camera(pytestconfig: pytest.Config) -> Camera:
    return Camera(str(pytestconfig.getoption("--pictures")))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as running:
        yield running
