"""The storefront: what a customer sees. A page with the goods and a form; the order is placed as any customer's."""

from __future__ import annotations

import html
from typing import Any

from accord.sandbox.catalogue import RATES
from accord.sandbox.pages import page, table
from accord.sandbox.shop.data import ShopData
from accord.sandbox.shop.wire import Document

SHOP = "Sandbox shop"
FIELDS = (
    ("first_name", "First name", "Zoë"), ("last_name", "Last name", "Groß"), ("email", "E-mail", "zoe@customers.example"),
    ("address1", "Street", "Königstraße 5"), ("zip", "Postal code", "40212"), ("city", "City", "Düsseldorf"),
    ("country", "Country", "Germany"), ("country_code", "Country code", "DE"), ("phone", "Phone", "+492111234567"),
)  # fmt: skip


def shop_page(data: ShopData, fault: str = "", given: dict[str, str] | None = None) -> str:
    """The form; ``fault`` and what was typed are shown again after a refused order."""
    typed = given or {}
    rows = "".join(_row(product, variant, level, typed) for product, variant, level in _goods(data))
    fields = "".join(
        f'<label>{label} <input name="{name}" value="{html.escape(typed.get(name, example))}" dir="auto"'
        f"{'' if name in ('phone', 'zip') else ' required'}></label>"
        for name, label, example in FIELDS
    )
    options = "".join(
        f"<option{' selected' if c == typed.get('currency', 'EUR') else ''}>{c}</option>" for c in sorted(RATES)
    )
    head = (
        '<th scope="col">goods</th><th scope="col">number</th><th scope="col" class="num">price EUR</th>'
        '<th scope="col">left</th><th scope="col">pieces</th>'
    )
    return page(
        "Place an order",
        f"{f'<p class=fault role=alert>{html.escape(fault)}</p>' if fault else ''}"
        f'<form method="post" action="/"><h2>Goods</h2>{table("Goods", head, rows)}'
        f'<h2>Where to</h2><div class="fields">{fields}<label>Pay in <select name="currency">{options}</select></label></div>'
        "<button>Order and pay</button></form>",
        SHOP,
    )


def _goods(data: ShopData) -> list[tuple[Document, Document, int]]:
    found = []
    for (number,) in data.store.all("SELECT id FROM products ORDER BY id LIMIT 100"):
        product: Any = data.find("products", number)
        for variant in product["variants"]:
            level = data.level(variant["inventory_item_id"])
            found.append((product, variant, level["available"] if level else 0))
    return found


def _row(product: Document, variant: Document, level: int, typed: dict[str, str]) -> str:
    name = f"{product['title']} {variant['title'] if variant['title'] != 'Default Title' else ''}"
    pieces = html.escape(typed.get(f"pieces-{variant['id']}", "0"))
    return (
        f'<tr><th scope="row" dir="auto">{html.escape(name)}</th><td>{html.escape(variant["sku"] or "")}</td>'
        f'<td class="num">{variant["price"]}</td><td>{level}</td>'
        f'<td><input type="number" min="0" max="999" name="pieces-{variant["id"]}" value="{pieces}" '
        f'aria-label="pieces of {html.escape(name)}"></td></tr>'
    )


def thanks_page(order: Document) -> str:
    lines = "".join(f"<li>{line['quantity']} × {html.escape(line['name'])}</li>" for line in order["line_items"])
    money = order["total_price_set"]["presentment_money"]
    return page(
        f"Thank you, {order['customer']['first_name']}",
        f'<p>Order <strong id="order">{html.escape(order["name"])}</strong>, {money["amount"]} {money["currency_code"]}.</p>'
        f'<ul>{lines}</ul><p><a href="/">Order again</a></p>',
        SHOP,
    )
