"""The business in a real browser: an order's whole way, accessibility of every page, and reading without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect
from stage import Stage

from browser import LOOKS, NARROW, WIDE, Camera, browser, camera, grave_faults, open_page

__all__ = ["browser", "camera"]  # fixtures
pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.xdist_group("load")]
FLOW = "order-to-cash"
DONE = f'table [data-of="flow:{FLOW}"][data-figure="done"]'
PAGES_MAX = 40


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    settings = {"shipping": {"dispatch_after_s": 0.2, "deliver_after_s": 0.2}}
    with Stage(tmp_path_factory.mktemp("browser") / "work", settings=settings) as running:
        running.sandbox.place_orders(5)
        yield running


def place_order(page: Page, stage: Stage, camera: Camera | None = None, **fields: str) -> str:
    """As a customer: the order's name."""
    page.goto(stage.sandbox.address("shop") + "/")
    page.get_by_label("pieces of").first.fill("2")
    for label, text in fields.items():
        page.get_by_label(label.replace("_", " "), exact=True).fill(text)
    if camera is not None:
        camera.take(page, "shop")
    page.get_by_role("button", name="Order and pay").click()
    return page.locator("#order").inner_text()


def key_of(stage: Stage, name: str) -> str:
    return next(str(order["id"]) for order in stage.sandbox.objects("shop", "orders") if order["name"] == name)


def search(page: Page, stage: Stage, key: str, state: str) -> None:
    """On the page of messages, repeated until there is one: messages settle a moment after they come."""
    page.goto(stage.address + "/monitor/messages")

    def is_found() -> bool:
        page.get_by_label("Flow").select_option(FLOW)
        page.get_by_label("State").select_option(state)
        page.get_by_label("Key").fill(key)
        page.get_by_role("button", name="Search").click()
        return page.locator("tbody th a").count() > 0

    stage.wait_until(is_found, f"message {key} is {state}")


def test_an_order_is_placed_watched_mended_and_invoiced(stage: Stage, browser: Browser, camera: Camera) -> None:
    with open_page(browser) as page, open_page(browser) as shop:
        page.goto(stage.address + "/")
        page.evaluate("window.isSamePage = true")
        before = page.locator(DONE).inner_text()
        name = place_order(shop, stage, camera, First_name="Grace", Last_name="Hopper", Country_code="FR")
        expect(page.locator(DONE)).not_to_have_text(before)
        assert page.evaluate("window.isSamePage") is True, "the figures came without loading the page again"

        search(page, stage, key_of(stage, name), "done")
        page.locator("tbody th a").last.click()
        expect(page.get_by_role("heading", name="The way it went")).to_be_visible()
        for path in ("0.validate", "4.write", "5.write"):
            expect(page.locator("summary > code").get_by_text(path, exact=True)).to_be_visible()
        assert page.locator("svg.waterfall rect").count() >= 3
        invoice = page.locator("details", has=page.get_by_text("5.write", exact=True))
        invoice.locator("summary").click()
        expect(
            invoice.get_by_role("row").filter(has_text="issued_on").filter(has_text="date(created_at)")
        ).to_be_visible()
        assert "Hopper" not in page.content(), "personal data is masked"
        invoice.scroll_into_view_if_needed()
        camera.take(page, "message")

        name = place_order(shop, stage, First_name="Alan", Last_name="Turing", Country_code="UK")
        search(page, stage, key_of(stage, name), "dead")
        page.locator("tbody th a").last.click()
        page.get_by_role("link", name="Mend or replay it").click()
        assert "country_code" in page.locator("main").inner_text()
        page.get_by_role("link", name="Show it whole").click()
        verdict = page.locator("form.mend .problems")
        expect(verdict).to_have_class(re.compile("wrong"))
        record = page.get_by_label("Record (JSON, as it came)")
        record.fill(record.input_value().replace('"country_code": "UK"', '"country_code": "GB"'))
        expect(verdict).to_have_text("The record satisfies the contract.")
        camera.take(page, "mend")
        page.get_by_role("button", name="Preview what it would do").click()
        expect(page.locator("#preview")).to_contain_text("accounting.invoices")
        page.get_by_role("button", name="Replay the mended record").click()
        expect(page.get_by_role("status").first).to_contain_text("on its way again")
        search(page, stage, key_of(stage, name), "done")

        page.goto(stage.sandbox.address("accounting") + "/")
        expect(page.get_by_role("row").filter(has_text=name)).to_contain_text("Alan Turing")
        camera.take(page, "invoices")

        page.goto(stage.address + "/")
        stage.sandbox.place_orders(60)
        expect(page.locator(f'svg [data-of="flow:{FLOW}"][data-figure="line"]')).to_have_text(
            re.compile(r"^(0\.[1-9]|[1-9])")
        )
        camera.take(page, "map")


def addresses(stage: Stage, page: Page) -> list[str]:
    """Every kind of page of the monitor reached by links from the map (one of each kind), and the stand-ins' pages."""
    found: dict[str, str] = {}
    waiting = [stage.address + "/"]
    while waiting and len(found) < PAGES_MAX:
        address = waiting.pop(0)
        parts = urlsplit(address)
        kind = re.sub(r"/(\d+|[0-9a-f]{12,})$", "/one", parts.path) + ("?" if "reveal" in parts.query else "")
        if kind in found or parts.netloc != urlsplit(stage.address).netloc:
            continue
        answer = page.goto(address)
        assert answer is not None and answer.status == 200, address
        found[kind] = address
        links = page.locator("a[href]").evaluate_all("links => links.map(link => link.getAttribute('href'))")
        waiting += [urljoin(address, link).partition("#")[0] for link in links]
    kinds = {
        "/",
        "/monitor/messages/one",
        "/monitor/dead/one",
        "/monitor/causes/one",
        f"/monitor/flows/{FLOW}",
        "/monitor/alerts",
    }
    assert kinds <= found.keys(), sorted(found)
    return [*found.values(), *(stage.sandbox.address(name) + "/" for name in ("shop", "accounting", "mail"))]


@pytest.fixture(scope="module")
def every_page(stage: Stage, browser: Browser) -> list[str]:
    with open_page(browser) as page:
        place_order(page, stage, Country_code="UK")
        name = place_order(page, stage, Country_code="UK")
        search(page, stage, key_of(stage, name), "dead")
        return addresses(stage, page)


def test_no_page_has_a_grave_fault_of_accessibility(
    stage: Stage, browser: Browser, every_page: list[str], camera: Camera
) -> None:
    """Each page wide and light by all rules, then dark and narrow by those that looks can break."""
    shapes = {re.sub(r"/(flows|systems)/.*", r"/\1/one", address): address for address in every_page}
    faults: list[str] = []
    with open_page(browser) as page:
        for address in shapes.values():
            page.set_viewport_size({"width": WIDE, "height": 844})
            page.emulate_media(color_scheme="light")
            page.goto(address)
            page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
            faults += grave_faults(page)
            for width, scheme in ((WIDE, "dark"), (NARROW, "dark"), (NARROW, "light")):
                page.set_viewport_size({"width": width, "height": 844})
                page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
                faults += [f"{width} {scheme} {fault}" for fault in grave_faults(page, *LOOKS)]
                if address == stage.address + "/" and scheme == "dark":
                    camera.take(page, f"map-{width}-dark")
            is_wider = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
            faults += [f"{address}: wider than {NARROW} pixels"] if is_wider else []
    assert not faults, "\n".join(faults)


def test_every_page_reads_without_javascript(browser: Browser, every_page: list[str]) -> None:
    with open_page(browser, with_script=False) as page:
        for address in every_page:
            page.goto(address)
            assert page.get_by_role("heading", level=1).inner_text(), address
            assert len(page.locator("main").inner_text()) > 40, address
            for part in page.locator("table tbody, ul, ol, dl, pre, figure").all():
                assert (part.text_content() or "").strip(), address
            for picture in page.locator("main svg").all():
                assert picture.locator("text").count() > 0, address
