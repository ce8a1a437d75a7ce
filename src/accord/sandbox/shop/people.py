"""Customers, one for each e-mail address."""

from __future__ import annotations

import msgspec

from accord.sandbox.shop.memory import Invalid, Memory, lower
from accord.sandbox.shop.wire import Document, gid, now_utc, tag_text, zoned


class Customers(Memory):
    def save_customer(self, given: Document) -> Document:
        """Makes a customer, or changes the one whose ``id`` is given: only the named fields."""
        now = now_utc()
        with self.store.transaction() as db:
            known = self.find("customers", given["id"]) if given.get("id") else None
            customer = known or self._bare_customer(now)
            is_new = known is None
            for name in (
                "first_name",
                "last_name",
                "email",
                "phone",
                "note",
                "tax_exempt",
                "verified_email",
                "currency",
                "state",
            ):
                if name in given:
                    customer[name] = given[name]
            if "tags" in given:
                customer["tags"] = tag_text(given["tags"])
            if not any(customer[name] for name in ("email", "phone", "first_name", "last_name")):
                raise Invalid("email", "or phone or a name must be given")
            self._check_email(customer)
            if given.get("addresses") or given.get("default_address"):
                self._set_address(customer, given.get("default_address") or given["addresses"][0])
            customer["updated_at"] = zoned(now)
            body = msgspec.json.encode(customer)
            created = (
                now if is_new else self.store.all("SELECT created_at FROM customers WHERE id = ?", customer["id"])[0][0]
            )
            row = (customer["id"], lower(customer["email"]), customer["phone"], created, now, body)
            db.execute("INSERT OR REPLACE INTO customers VALUES (?, ?, ?, ?, ?, ?)", row)
            self.emit("customers/create" if is_new else "customers/update", customer)
        return customer

    def _bare_customer(self, now: str) -> Document:
        number = self.next_id("Customer")
        return {
            "id": number, "admin_graphql_api_id": gid("Customer", number), "email": None, "first_name": None, "last_name": None,
            "phone": None, "note": None, "tags": "", "state": "disabled", "verified_email": True, "multipass_identifier": None,
            "tax_exempt": False, "tax_exemptions": [], "currency": "EUR", "created_at": zoned(now), "updated_at": zoned(now),
            "default_address": None, "addresses": [],
        }  # fmt: skip

    def _check_email(self, customer: Document) -> None:
        email = customer["email"]
        if not email:
            return
        if "@" not in email or email != email.strip():
            raise Invalid("email", "is invalid")
        row = self.store.one("SELECT id FROM customers WHERE email = ?", lower(email))
        if row is not None and row[0] != customer["id"]:
            raise Invalid("email", "has already been taken")

    def _set_address(self, customer: Document, given: Document) -> None:
        old = customer["default_address"] or {"id": self.next_id("MailingAddress")}
        fields = {k: v for k, v in given.items() if k not in ("id", "latitude", "longitude")}
        country = fields.get("country") or old.get("country")
        found = {**old, **fields, "customer_id": customer["id"], "country_name": country, "default": True}
        customer["default_address"], customer["addresses"] = found, [found]

    def customer_by(self, column: str, value: str) -> Document | None:
        row = self.store.one(f"SELECT body FROM customers WHERE {column} = ?", lower(value) or "")  # noqa: S608 - email or phone
        return msgspec.json.decode(row[0]) if row else None

    def delete_customer(self, number: int) -> bool:
        with self.store.transaction() as db:
            if self.find("customers", number) is None:
                return False
            if self.store.number("SELECT count(*) FROM orders WHERE customer = ?", number):
                raise Invalid("id", "belongs to a customer who has orders")
            db.execute("DELETE FROM customers WHERE id = ?", (number,))
            self.emit("customers/delete", {"id": number})
        return True
