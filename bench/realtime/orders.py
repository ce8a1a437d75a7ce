"""The order every contender receives, and what each must hand to the target for it.

Numbers have nine digits, so every request has the same length. The key of an order is ``number % keys`` when ``keys`` is given
(several orders of one key, for the check of order per key), else its number.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from decimal import Decimal
from typing import Any

FIRST = 100_000_001
SECRET = "bench-secret"

_ITEMS = ",".join(
    f'{{"id":{n},"sku":"SKU-{n:04d}","title":"Thing number {n}","quantity":{n + 1},"price":"{n}.50","taxable":true,"vendor":"Acme"}}'
    for n in range(1, 5)
)
_ADDRESS = (
    '{"first_name":"Ada","last_name":"Lovelace","address1":"12 St James\'s Square","city":"London","zip":"SW1Y 4JH",'
    '"country_code":"GB","phone":"+442079460000"}'
)
_BODY = (
    '{"id":%d,"name":"#%d","email":"ada@example.com","created_at":"2026-05-01T10:00:00+00:00",'
    '"updated_at":"2026-05-01T10:00:00+00:00","currency":"GBP","total_price":"57.50","subtotal_price":"50.00","total_tax":"7.50",'
    '"financial_status":"paid","note":null,"tags":"vip, repeat","test":false,"order_number":%d,'
    '"customer":{"id":207119551,"email":"ada@example.com","first_name":"Ada","last_name":"Lovelace","phone":null},'
    f'"shipping_address":{_ADDRESS},"billing_address":{_ADDRESS},"line_items":[{_ITEMS}]}}'
).encode()
_HEAD = (
    "POST %s HTTP/1.1\r\nhost: %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    "x-shopify-topic: orders/create\r\nx-shopify-webhook-id: hook-%%d\r\nx-shopify-shop-domain: bench.myshopify.com\r\n"
    "x-shopify-api-version: 2026-10\r\nx-shopify-hmac-sha256: %%s\r\n\r\n"
)
_EXPECTED: dict[str, Any] = {
    "recipient": "Ada Lovelace",
    "street": "12 St James's Square",
    "city": "LONDON",
    "postal_code": "SW1Y 4JH",
    "country": "GB",
    "email": "ada@example.com",
    "currency": "GBP",
    "total": Decimal("57.50"),
    "tax": Decimal("7.50"),
    "ship_by": "2026-05-03",
    "is_paid": True,
}
_EXPECTED_PARCELS = [(f"SKU-{n:04d}", n + 1, (n + Decimal("0.5")) * (n + 1)) for n in range(1, 5)]


def body_of(number: int, keys: int = 0) -> bytes:
    """A Shopify-shaped order of about 1.5 KB."""
    return _BODY % (FIRST + number % keys if keys else number, number, number)


class Requests:
    """Signed requests for one address, as bytes for the wire."""

    def __init__(self, host: str, path: str, keys: int = 0) -> None:
        self._keys = keys
        self._secret = SECRET.encode()
        self._head = (_HEAD % (path, host, len(body_of(FIRST)))).encode()

    def of(self, number: int) -> bytes:
        body = body_of(number, self._keys)
        signature = base64.b64encode(hmac.digest(self._secret, body, hashlib.sha256))
        return self._head % (number, signature) + body


def faults_of(body: bytes) -> list[str]:
    """What is wrong with a shipment; decimals may be JSON numbers or strings."""
    shipment = json.loads(body, parse_float=Decimal)
    faults = []
    for name, wanted in _EXPECTED.items():
        found = shipment.get(name)
        if isinstance(wanted, Decimal):
            found = Decimal(str(found))
        if found != wanted:
            faults.append(f"{name} is {found!r}, should be {wanted!r}")
    parcels = [(p["sku"], p["pieces"], Decimal(str(p["value"]))) for p in shipment.get("parcels", ())]
    if parcels != _EXPECTED_PARCELS:
        faults.append(f"parcels are {parcels!r}")
    return faults
