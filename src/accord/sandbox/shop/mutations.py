"""Mutations: GraphQL input into the shop's memory. A refused one answers with userErrors and changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
from graphql.execution import get_directive_values

from accord.sandbox.catalogue import SHOP_CURRENCY
from accord.sandbox.shop.bulk import BulkOperations
from accord.sandbox.shop.data import ShopData
from accord.sandbox.shop.drafts import same, variant_line
from accord.sandbox.shop.hooks import Hooks, topic_of
from accord.sandbox.shop.memory import Invalid
from accord.sandbox.shop.orders import Draft, Line
from accord.sandbox.shop.search import View
from accord.sandbox.shop.views import Views, number_of
from accord.sandbox.shop.wire import (
    FULFILLMENT_ORDER_OFFSET,
    LOCATION_ID,
    NOTHING,
    Currencies,
    Document,
    Money,
    gid,
    now_utc,
    tag_list,
    tag_text,
    utc,
)

NAMES = {
    "firstName": "first_name", "lastName": "last_name", "email": "email", "phone": "phone", "note": "note", "tags": "tags",
    "taxExempt": "tax_exempt", "title": "title", "handle": "handle", "vendor": "vendor", "productType": "product_type",
    "descriptionHtml": "body_html", "poNumber": "po_number", "company": "company", "address1": "address1", "address2": "address2",
    "city": "city", "zip": "zip", "province": "province", "provinceCode": "province_code", "country": "country",
    "countryCode": "country_code", "barcode": "barcode", "compareAtPrice": "compare_at_price", "price": "price", "sku": "sku",
    "taxable": "taxable", "position": "position",
}  # fmt: skip


def snake(given: Document) -> Document:
    return {NAMES[name]: value for name, value in given.items() if name in NAMES}


def mailing(given: Document | None) -> Document | None:
    if given is None:
        return None
    found = snake(given)
    return {**found, "country": found.get("country") or found.get("country_code")}


class Mutations:
    def __init__(self, data: ShopData, views: Views, hooks: Hooks, bulk: BulkOperations) -> None:
        self.bulk = bulk
        self.data, self.views, self.hooks, self.store = data, views, hooks, data.store

    def root(self) -> dict[str, Any]:
        """Every mutation under its name, guarded."""
        work: dict[str, Callable[..., View]] = {
            "customerCreate": self.customer_create, "customerUpdate": self.customer_update, "customerSet": self.customer_set,
            "customerDelete": self.customer_delete, "productCreate": self.product_create, "productUpdate": self.product_update,
            "productSet": self.product_set, "productDelete": self.product_delete, "orderCreate": self.order_create,
            "orderUpdate": self.order_update, "orderCancel": self.order_cancel, "orderMarkAsPaid": self.order_mark_as_paid,
            "fulfillmentCreate": self.fulfillment_create, "tagsAdd": self.tags_add, "tagsRemove": self.tags_remove,
            "inventoryAdjustQuantities": self.inventory_adjust, "inventorySetQuantities": self.inventory_set,
            "webhookSubscriptionCreate": self.webhook_create, "webhookSubscriptionDelete": self.webhook_delete,
            "bulkOperationRunQuery": self.bulk.run, "bulkOperationCancel": self.bulk.cancel,
        }  # fmt: skip
        return {name: self._guarded(name, each) for name, each in work.items()}

    def _guarded(self, name: str, work: Callable[..., View]) -> Callable[..., View]:
        errors = "orderCancelUserErrors" if name == "orderCancel" else "userErrors"

        def run(info: Any, **args: Any) -> View:
            try:
                with self.store.transaction():
                    return {errors: [], **self._once(name, info, args, work)}
            except Invalid as fault:
                parts = fault.field.split(".")
                return {
                    errors: [
                        {
                            "__typename": "UserError",
                            "field": parts,
                            "message": f"{parts[-1]} {fault.reason}",
                            "code": fault.code,
                        }
                    ]
                }

        return run

    def _once(self, name: str, info: Any, args: Document, work: Callable[..., View]) -> View:
        """With ``@idempotent(key)`` the change made first is answered again."""
        directive = info.schema.get_directive("idempotent")
        found = get_directive_values(directive, info.field_nodes[0], info.variable_values) if directive else None
        if not found:
            return work(**args)
        key, print_of = found["key"], hashlib.sha256(msgspec.json.encode(args, order="deterministic")).hexdigest()
        kept = self.store.one("SELECT fingerprint, body FROM idempotency WHERE scope = ? AND key = ?", name, key)
        if kept is None:
            made = work(**args)
            group = made["inventoryAdjustmentGroup"]
            values = (name, key, print_of, 200, msgspec.json.encode(group["kept"]))
            self.store.db.execute("INSERT INTO idempotency VALUES (?, ?, ?, ?, ?)", values)
            return made
        if kept[0] != print_of:
            raise Invalid("key", "was used with other parameters", "IDEMPOTENCY_KEY_PARAMETER_MISMATCH")
        return {"inventoryAdjustmentGroup": self._group(msgspec.json.decode(kept[1]))}

    # --- customers

    def _customer_given(self, given: Document) -> Document:
        return snake(given) | ({"addresses": [mailing(given["addresses"][0])]} if given.get("addresses") else {})

    def customer_create(self, input: Document) -> View:
        return {"customer": self.views.customer(self.data.save_customer(self._customer_given(input)))}

    def customer_update(self, input: Document) -> View:
        number = number_of(input.get("id") or "")
        if self.data.find("customers", number) is None:
            raise Invalid("input.id", "is not a customer of this shop")
        return {"customer": self.views.customer(self.data.save_customer({**self._customer_given(input), "id": number}))}

    def customer_set(self, input: Document, identifier: Document | None = None) -> View:
        """Makes or changes: found by id, e-mail address or phone number."""
        by = identifier or {}
        found: Document | None = None
        if by.get("id") or input.get("id"):
            found = self.data.find("customers", number_of(by.get("id") or input["id"]))
            if found is None:
                raise Invalid("input.id", "is not a customer of this shop", "NOT_FOUND")
        elif by.get("email") or by.get("phone"):
            column = "email" if by.get("email") else "phone"
            found = self.data.customer_by(column, by[column])
        given = self._customer_given(input) | ({"id": found["id"]} if found else {})
        return {"customer": self.views.customer(self.data.save_customer(given))}

    def customer_delete(self, input: Document) -> View:
        if not self.data.delete_customer(number_of(input["id"])):
            raise Invalid("id", "is not a customer of this shop")
        return {"deletedCustomerId": input["id"]}

    # --- products

    def _product_given(self, given: Document) -> Document:
        found = snake(given)
        if given.get("status"):
            found["status"] = given["status"].lower()
        return found

    def product_create(self, product: Document | None = None, **_: Any) -> View:
        if product is None:
            raise Invalid("product", "must be given")
        return {"product": self.views.product(self.data.save_product(self._product_given(product)))}

    def product_update(self, product: Document | None = None, **_: Any) -> View:
        number = number_of((product or {}).get("id") or "")
        if product is None or self.data.find("products", number) is None:
            raise Invalid("product.id", "is not a product of this shop")
        return {"product": self.views.product(self.data.save_product({**self._product_given(product), "id": number}))}

    def product_set(self, input: Document, identifier: Document | None = None, synchronous: bool = True) -> View:
        """Makes or changes a product with its variants: found by id or handle."""
        by = identifier or {}
        number = number_of(by.get("id") or input.get("id") or "")
        handle = by.get("handle") or input.get("handle")
        if not number and handle:
            row = self.store.one("SELECT id FROM products WHERE handle = ?", handle)
            number = row[0] if row else 0
        known = self.data.find("products", number) if number else None
        if number and known is None:
            raise Invalid("input.id", "is not a product of this shop", "PRODUCT_DOES_NOT_EXIST")
        given = self._product_given(input) | ({"id": number} if number else {})
        if input.get("variants"):
            given["variants"] = [self._variant_given(v, known) for v in input["variants"]]
        saved = self.data.save_product(given)
        for asked, variant in zip(input.get("variants") or (), saved["variants"], strict=False):
            for amount in asked.get("inventoryQuantities") or ():
                self._set_quantity(variant["inventory_item_id"], amount["name"], amount["quantity"])
        return {"product": self.views.product(saved)}

    def _variant_given(self, asked: Document, known: Document | None) -> Document:
        found = snake(asked)
        title = " / ".join(option["name"] for option in asked["optionValues"] if option.get("name"))
        item = asked.get("inventoryItem") or {}
        found |= {"title": title or "Default Title", "option1": title or "Default Title"}
        if item.get("sku"):
            found["sku"] = item["sku"]
        if asked.get("id"):
            found["id"] = number_of(asked["id"])
        elif known is not None:
            same_title = [v["id"] for v in known["variants"] if v["title"] == found["title"]]
            found |= {"id": same_title[0]} if same_title else {}
        return found

    def product_delete(self, input: Document, synchronous: bool = True) -> View:
        if not self.data.delete_product(number_of(input["id"])):
            raise Invalid("id", "is not a product of this shop")
        return {"deletedProductId": input["id"]}

    # --- orders

    def order_create(self, order: Document, options: Document | None = None) -> View:
        currency = order.get("currency") or SHOP_CURRENCY
        customer = self._order_customer(order)
        taxes = [self._money(tax.get("priceSet")) for tax in order.get("taxLines") or ()]
        status = order.get("financialStatus") or ("PAID" if order.get("transactions") else "PENDING")
        draft = Draft(
            lines=tuple(self._order_line(line) for line in order.get("lineItems") or ()),
            currencies=Currencies(currency, order.get("presentmentCurrency") or currency),
            customer=customer,
            email=order.get("email") or (customer or {}).get("email"),
            phone=order.get("phone"),
            shipping_address=mailing(order.get("shippingAddress")) or (customer or {}).get("default_address"),
            billing_address=mailing(order.get("billingAddress")),
            shipping=tuple(
                (line["title"], self._money(line.get("priceSet"))) for line in order.get("shippingLines") or ()
            ),
            financial_status=status.lower(),
            note=order.get("note"),
            tags=tag_text(order.get("tags")),
            name=order.get("name"),
            po_number=order.get("poNumber"),
            source_name=order.get("sourceName") or "api",
            source_identifier=order.get("sourceIdentifier"),
            note_attributes=tuple({"name": a["key"], "value": a["value"]} for a in order.get("customAttributes") or ()),
            is_taxed=False,
            tax=Money(
                sum((t.shop for t in taxes), NOTHING.shop), sum((t.presentment for t in taxes), NOTHING.presentment)
            ),
            taxes_included=bool(order.get("taxesIncluded")),
            is_test=bool(order.get("test")),
            processed_at=utc(order.get("processedAt")),
        )
        takes_stock = (options or {}).get("inventoryBehaviour", "BYPASS") != "BYPASS"
        return {"order": self.views.order(self.data.place(draft, takes_stock=takes_stock))}

    def _money(self, given: Document | None) -> Money:
        if not given:
            return NOTHING
        shop = same(given["shopMoney"]["amount"], "priceSet").shop
        presentment = given.get("presentmentMoney")
        return Money(shop, same(presentment["amount"], "priceSet").shop if presentment else shop)

    def _order_line(self, given: Document) -> Line:
        if given["quantity"] < 1:
            raise Invalid("order.lineItems.quantity", "must be at least 1")
        properties = tuple({"name": p["name"], "value": p["value"]} for p in given.get("properties") or ())
        if given.get("variantId"):
            line = variant_line(self.data, number_of(given["variantId"]), given["quantity"], SHOP_CURRENCY)
            price = self._money(given["priceSet"]) if given.get("priceSet") else line.unit
            return msgspec.structs.replace(line, unit=price, properties=properties)
        if not given.get("title"):
            raise Invalid("order.lineItems.title", "can't be blank")
        return Line(
            given["title"],
            given["quantity"],
            self._money(given.get("priceSet")),
            given.get("sku") or "",
            vendor=given.get("vendor"),
            requires_shipping=given.get("requiresShipping", True),
            taxable=given.get("taxable", True),
            properties=properties,
        )

    def _order_customer(self, order: Document) -> Document | None:
        asked = order.get("customer") or {}
        named = (asked.get("toAssociate") or {}).get("id") or order.get("customerId")
        if named:
            found = self.data.find("customers", number_of(named))
            if found is None:
                raise Invalid("order.customer", "does not exist")
            return found
        upsert = asked.get("toUpsert")
        if upsert:
            known = self.data.customer_by("email", upsert["email"]) if upsert.get("email") else None
            addresses = [mailing(a) for a in upsert.get("addresses") or ()]
            given = (
                snake(upsert) | ({"addresses": addresses} if addresses else {}) | ({"id": known["id"]} if known else {})
            )
            return self.data.save_customer(given)
        return self.data.customer_by("email", order["email"]) if order.get("email") else None

    def _order(self, text: str) -> Document:
        found = self.data.find("orders", number_of(text))
        if found is None:
            raise Invalid("id", "is not an order of this shop")
        return found

    def order_update(self, input: Document) -> View:
        order = self._order(input["id"])
        order |= {k: v for k, v in snake(input).items() if k in ("email", "phone", "note", "po_number")}
        if "tags" in input:
            order["tags"] = tag_text(input["tags"])
        if input.get("shippingAddress"):
            order["shipping_address"] = {
                **(order["shipping_address"] or {}),
                **(mailing(input["shippingAddress"]) or {}),
            }
        if "customAttributes" in input:
            order["note_attributes"] = [{"name": a["key"], "value": a["value"]} for a in input["customAttributes"]]
        return {"order": self.views.order(self.data.save_order(order))}

    def order_cancel(self, orderId: str, reason: str, restock: bool, **_: Any) -> View:
        self.data.cancel_order(self._order(orderId), reason.lower(), restocks=restock)
        return {"job": {"id": gid("Job", f"cancel-{number_of(orderId)}"), "done": True}}

    def order_mark_as_paid(self, input: Document) -> View:
        order = self._order(input["id"])
        if order["financial_status"] == "paid" or order["cancelled_at"]:
            raise Invalid("id", "cannot be marked as paid")
        return {"order": self.views.order(self.data.mark_paid(order))}

    def fulfillment_create(self, fulfillment: Document, message: str | None = None) -> View:
        groups = fulfillment["lineItemsByFulfillmentOrder"]
        if len({group["fulfillmentOrderId"] for group in groups}) != 1:
            raise Invalid("fulfillment.lineItemsByFulfillmentOrder", "must name exactly one fulfillment order")
        order = self.data.find("orders", number_of(groups[0]["fulfillmentOrderId"]) - FULFILLMENT_ORDER_OFFSET)
        if order is None:
            raise Invalid("fulfillment.lineItemsByFulfillmentOrder", "names a fulfillment order that does not exist")
        chosen = groups[0].get("fulfillmentOrderLineItems")
        wanted = {number_of(line["id"]): line["quantity"] for line in chosen} if chosen else None
        made = self.data.fulfil(order, wanted, fulfillment.get("trackingInfo") or {})
        return {"fulfillment": self.views.fulfillment(made, order)}

    # --- tags

    def tags_add(self, id: str, tags: list[str]) -> View:
        return self._tags(id, lambda known: [*known, *tags])

    def tags_remove(self, id: str, tags: list[str]) -> View:
        gone = {tag.lower() for tag in tags}
        return self._tags(id, lambda known: [tag for tag in known if tag.lower() not in gone])

    def _tags(self, name: str, change: Callable[[list[str]], list[str]]) -> View:
        kind, number = name.removeprefix("gid://shopify/").partition("/")[0], number_of(name)
        table = {"Order": "orders", "Product": "products", "Customer": "customers"}.get(kind)
        found = self.data.find(table, number) if table else None
        if found is None:
            raise Invalid("id", "is not something with tags in this shop")
        tags = tag_text(change(tag_list(found["tags"])))
        if kind == "Order":
            self.data.save_order({**found, "tags": tags})
        elif kind == "Product":
            self.data.save_product({"id": number, "tags": tags})
        else:
            self.data.save_customer({"id": number, "tags": tags})
        return {"node": {"__typename": kind, "id": gid(kind, number)}}

    # --- inventory

    def inventory_adjust(self, input: Document) -> View:
        changes = [(c, "delta", c["delta"]) for c in input["changes"]]
        return self._move(input, changes)

    def inventory_set(self, input: Document) -> View:
        return self._move(input, [(q, "quantity", q["quantity"]) for q in input["quantities"]])

    def _move(self, input: Document, changes: list[tuple[Document, str, int]]) -> View:
        name = input["name"]
        if name not in ("available", "on_hand"):
            raise Invalid("input.name", "must be available or on_hand here", "INVALID_QUANTITY_NAME")
        kept = []
        for change, how, amount in changes:
            item = number_of(change["inventoryItemId"])
            level = self.data.level(item)
            if level is None:
                raise Invalid("input.inventoryItemId", "does not exist", "INVALID_INVENTORY_ITEM")
            if number_of(change["locationId"]) != LOCATION_ID:
                raise Invalid("input.locationId", "does not exist", "INVALID_LOCATION")
            now = level["available"] + (level["committed"] if name == "on_hand" else 0)
            expected = change.get("changeFromQuantity")
            if expected is not None and expected != now:
                raise Invalid(
                    "input.changeFromQuantity", f"is {expected}, the quantity is {now}", "CHANGE_FROM_QUANTITY_STALE"
                )
            delta = amount if how == "delta" else amount - now
            self.data.change_level(item, available=delta)
            kept.append({"item": item, "name": name, "delta": delta, "after": now + delta})
        group = {"id": self.data.next_id("InventoryAdjustmentGroup"), "reason": input["reason"], "at": now_utc(), "changes": kept,
                 "uri": input.get("referenceDocumentUri")}  # fmt: skip
        return {"inventoryAdjustmentGroup": {**self._group(group), "kept": group}}

    def _group(self, kept: Document) -> View:
        changes = [
            {"name": c["name"], "delta": c["delta"], "quantityAfterChange": c["after"], "item": self.views.item_by_id(c["item"]),
             "location": self.views.location()}
            for c in kept["changes"]
        ]  # fmt: skip
        return {
            "id": gid("InventoryAdjustmentGroup", kept["id"]), "reason": kept["reason"], "createdAt": kept["at"],
            "referenceDocumentUri": kept["uri"], "changes": lambda info, **args: changes,
        }  # fmt: skip

    def _set_quantity(self, item: int, name: str, quantity: int) -> None:
        level = self.data.level(item) or {"available": 0, "committed": 0}
        now = level["available"] + (level["committed"] if name == "on_hand" else 0)
        self.data.change_level(item, available=quantity - now)

    # --- webhooks

    def webhook_create(self, topic: str, webhookSubscription: Document) -> View:
        address = webhookSubscription.get("uri") or webhookSubscription.get("callbackUrl") or ""
        return {"webhookSubscription": self.hooks.view(self.hooks.create(topic_of(topic), address))}

    def webhook_delete(self, id: str) -> View:
        if not self.hooks.delete(number_of(id)):
            raise Invalid("id", "is not a webhook subscription of this shop")
        return {"deletedWebhookSubscriptionId": id}
