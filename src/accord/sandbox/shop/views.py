"""REST documents as GraphQL sees them: camel case, global ids, UTC, connections. Nested objects are made when asked for."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from accord.sandbox.shop.data import ShopData
from accord.sandbox.shop.hooks import SHOP_CREATED_AT, SHOP_DOMAIN
from accord.sandbox.shop.search import Source, View, connection, list_connection
from accord.sandbox.shop.wire import FULFILLMENT_ORDER_OFFSET, LOCATION_ID, SHOP_ID, Document, gid, tag_list, utc

QUANTITIES = ("available", "on_hand", "committed", "incoming", "reserved", "damaged", "safety_stock", "quality_control")


class Views:
    def __init__(self, data: ShopData) -> None:
        self.data, self.store = data, data.store
        stamps = {"created_at": "created_at", "updated_at": "updated_at"}
        by_time = {"CREATED_AT": "created_at", "UPDATED_AT": "updated_at"}
        body = {name: f"body ->> '{name}'" for name in ("title", "vendor", "product_type", "status")}
        self.orders = Source(
            "orders",
            {**stamps, "processed_at": "processed_at", "name": "name", "email": "email", "status": "status", "customer_id": "customer",
             "financial_status": "financial_status", "fulfillment_status": "coalesce(fulfillment_status, 'unfulfilled')",
             "source_identifier": "source_identifier", "po_number": "body ->> 'po_number'"},
            {**by_time, "PROCESSED_AT": "processed_at", "ORDER_NUMBER": "number"},
            self.order_by_id, "Order", tags=True,
        )  # fmt: skip
        self.products = Source(
            "products",
            {**stamps, **body, "handle": "handle"},
            {**by_time, "TITLE": body["title"], "VENDOR": body["vendor"], "PRODUCT_TYPE": body["product_type"]},
            self.product_by_id,
            "Product",
            tags=True,
        )
        self.customers = Source(
            "customers",
            {**stamps, "email": "email", "phone": "phone"},
            by_time,
            self.customer_by_id,
            "Customer",
            tags=True,
        )
        self.variants = Source(
            "variants",
            {"sku": "sku", "barcode": "barcode", "product_id": "product", "title": "title"},
            {"SKU": "sku", "TITLE": "title", "POSITION": "position"},
            self.variant_by_id,
            "ProductVariant",
        )
        self.levels = Source(
            "levels", {**stamps, "inventory_item_id": "item"}, {}, self.level_by_item, "InventoryLevel", id="item"
        )  # fmt: skip

    # --- products

    def product_by_id(self, number: int) -> View | None:
        found = self.data.find("products", number)
        return self.product(found) if found else None

    def product(self, doc: Document) -> View:
        def total(info: Any) -> int:
            return self.store.number(
                "SELECT sum(available) FROM levels WHERE variant IN (SELECT id FROM variants WHERE product = ?)",
                doc["id"],
            )

        return {
            "__typename": "Product", "id": gid("Product", doc["id"]), "legacyResourceId": str(doc["id"]), "title": doc["title"],
            "handle": doc["handle"], "descriptionHtml": doc["body_html"] or "", "vendor": doc["vendor"] or "",
            "productType": doc["product_type"] or "", "status": doc["status"].upper(), "tags": tag_list(doc["tags"]),
            "createdAt": utc(doc["created_at"]), "updatedAt": utc(doc["updated_at"]), "publishedAt": utc(doc["published_at"]),
            "totalInventory": total,
            "variants": lambda info, **args: list_connection([self.variant(v, doc) for v in doc["variants"]], args),
        }  # fmt: skip

    def variant_by_id(self, number: int) -> View | None:
        found = self.data.variant(number)
        return self.variant(*found) if found else None

    def variant(self, doc: Document, product: Document) -> View:
        return {
            "__typename": "ProductVariant", "id": gid("ProductVariant", doc["id"]), "legacyResourceId": str(doc["id"]),
            "title": doc["title"], "displayName": f"{product['title']} - {doc['title']}", "sku": doc["sku"] or None,
            "barcode": doc["barcode"], "price": doc["price"], "compareAtPrice": doc["compare_at_price"], "position": doc["position"],
            "taxable": doc["taxable"], "createdAt": utc(doc["created_at"]), "updatedAt": utc(doc["updated_at"]),
            "inventoryQuantity": lambda info: (self.data.level(doc["inventory_item_id"]) or {}).get("available"),
            "inventoryItem": lambda info: self.item(doc, product), "product": lambda info: self.product(product),
        }  # fmt: skip

    # --- inventory

    def item_by_id(self, number: int) -> View | None:
        level = self.data.level(number)
        found = self.data.variant(level["variant_id"]) if level else None
        return self.item(*found) if found else None

    def item(self, variant: Document, product: Document) -> View:
        number = variant["inventory_item_id"]
        return {
            "__typename": "InventoryItem", "id": gid("InventoryItem", number), "legacyResourceId": str(number),
            "sku": variant["sku"] or None, "tracked": True, "requiresShipping": variant["requires_shipping"],
            "createdAt": utc(variant["created_at"]), "updatedAt": utc(variant["updated_at"]),
            "variant": lambda info: self.variant(variant, product),
            "inventoryLevel": lambda info, **args: self.level_at(args["locationId"], number),
            "inventoryLevels": lambda info, **args: connection(self.store, self.levels, args, [("item = ?", number)]),
        }  # fmt: skip

    def level_at(self, location: str, item: int) -> View | None:
        return self.level_by_item(item) if gid_is(location, "Location", LOCATION_ID) else None

    def level_by_item(self, number: int) -> View | None:
        level = self.data.level(number)
        if level is None:
            return None
        amounts = dict.fromkeys(QUANTITIES, 0) | {
            "available": level["available"],
            "committed": level["committed"],
            "on_hand": level["available"] + level["committed"],
        }

        def quantities(info: Any, names: list[str]) -> list[View]:
            where = f"{gid('InventoryQuantity', number)}?inventory_item_id={number}"
            updated = level["updated_at"]
            return [
                {"id": f"{where}&name={n}", "name": n, "quantity": amounts[n], "updatedAt": updated}
                for n in names
                if n in amounts
            ]

        return {
            "__typename": "InventoryLevel", "id": f"{gid('InventoryLevel', LOCATION_ID)}?inventory_item_id={number}",
            "createdAt": level["created_at"], "updatedAt": level["updated_at"], "isActive": True, "quantities": quantities,
            "item": lambda info: self.item_by_id(number), "location": lambda info: self.location(),
        }  # fmt: skip

    def location(self) -> View:
        return {
            "__typename": "Location", "id": gid("Location", LOCATION_ID), "legacyResourceId": str(LOCATION_ID),
            "name": "Main warehouse", "isActive": True, "createdAt": SHOP_CREATED_AT, "updatedAt": SHOP_CREATED_AT,
            "inventoryLevel": lambda info, **args: self.level_by_item(number_of(args["inventoryItemId"])),
            "inventoryLevels": lambda info, **args: connection(self.store, self.levels, args),
        }  # fmt: skip

    # --- customers

    def customer_by_id(self, number: int) -> View | None:
        found = self.data.find("customers", number)
        return self.customer(found) if found else None

    def customer(self, doc: Document) -> View:
        name = " ".join(part for part in (doc["first_name"], doc["last_name"]) if part)
        email, phone = doc["email"], doc["phone"]
        return {
            "__typename": "Customer", "id": gid("Customer", doc["id"]), "legacyResourceId": str(doc["id"]),
            "firstName": doc["first_name"], "lastName": doc["last_name"], "displayName": name or email or phone or "", "email": email,
            "phone": phone, "defaultEmailAddress": {"emailAddress": email} if email else None,
            "defaultPhoneNumber": {"phoneNumber": phone} if phone else None, "note": doc["note"], "tags": tag_list(doc["tags"]),
            "state": doc["state"].upper(), "taxExempt": doc["tax_exempt"], "verifiedEmail": doc["verified_email"], "locale": "en",
            "createdAt": utc(doc["created_at"]), "updatedAt": utc(doc["updated_at"]),
            "defaultAddress": self.address(doc["default_address"]),
            "numberOfOrders": lambda info: str(self.store.number("SELECT count(*) FROM orders WHERE customer = ?", doc["id"])),
            "orders": lambda info, **args: connection(self.store, self.orders, args, [("customer = ?", doc["id"])]),
        }  # fmt: skip

    def address(self, doc: Document | None) -> View | None:
        if not doc:
            return None
        return {
            "__typename": "MailingAddress", "id": gid("MailingAddress", doc.get("id", 0)), "firstName": doc.get("first_name"),
            "lastName": doc.get("last_name"), "name": doc.get("name"), "company": doc.get("company"), "address1": doc.get("address1"),
            "address2": doc.get("address2"), "city": doc.get("city"), "zip": doc.get("zip"), "province": doc.get("province"),
            "provinceCode": doc.get("province_code"), "country": doc.get("country"), "countryCodeV2": doc.get("country_code"),
            "phone": doc.get("phone"),
        }  # fmt: skip

    # --- orders

    def order_by_id(self, number: int) -> View | None:
        found = self.data.find("orders", number)
        return self.order(found) if found else None

    def order(self, doc: Document) -> View:
        states = {None: "UNFULFILLED", "partial": "PARTIALLY_FULFILLED", "fulfilled": "FULFILLED"}
        customer = doc["customer"] or {}
        found: View = {
            "__typename": "Order", "id": gid("Order", doc["id"]), "legacyResourceId": str(doc["id"]), "name": doc["name"],
            "number": doc["order_number"], "email": doc["email"], "phone": doc["phone"], "note": doc["note"], "tags": tag_list(doc["tags"]),
            "test": doc["test"], "confirmed": True, "cancelReason": (doc["cancel_reason"] or "").upper() or None,
            "sourceName": doc["source_name"], "sourceIdentifier": doc["source_identifier"], "poNumber": doc["po_number"],
            "currencyCode": doc["currency"], "presentmentCurrencyCode": doc["presentment_currency"],
            "taxesIncluded": doc["taxes_included"], "taxExempt": doc["tax_exempt"], "statusPageUrl": doc["order_status_url"],
            "displayFinancialStatus": doc["financial_status"].upper(), "displayFulfillmentStatus": states[doc["fulfillment_status"]],
            "fullyPaid": doc["financial_status"] == "paid", "unpaid": doc["financial_status"] == "pending",
            "customAttributes": [{"key": a["name"], "value": a["value"]} for a in doc["note_attributes"]],
            "cancellation": {"staffNote": None} if doc["cancelled_at"] else None,
            "billingAddress": self.address(doc["billing_address"]), "shippingAddress": self.address(doc["shipping_address"]),
            "customer": lambda info: self.customer_by_id(customer["id"]) if customer else None,
            "lineItems": lambda info, **args: list_connection([self.line(line) for line in doc["line_items"]], args),
            "fulfillments": lambda info, **args: [self.fulfillment(f, doc) for f in doc["fulfillments"][: args.get("first")]],
            "fulfillmentOrders": lambda info, **args: list_connection([self.fulfillment_order(doc)], args),
        }  # fmt: skip
        for name in ("created_at", "updated_at", "processed_at", "cancelled_at", "closed_at"):
            found[camel(name)] = utc(doc[name])
        for name in ("total_price_set", "subtotal_price_set", "total_tax_set", "total_discounts_set", "total_shipping_price_set",
                     "current_total_price_set", "current_subtotal_price_set"):  # fmt: skip
            found[camel(name)] = bag(doc[name])
        nothing = {"amount": "0.00", "currencyCode": doc["currency"]}
        none = {"shopMoney": nothing, "presentmentMoney": nothing}
        found["totalReceivedSet"] = found["totalPriceSet"] if doc["financial_status"] == "paid" else none
        found["totalOutstandingSet"] = none if doc["financial_status"] == "paid" else found["totalPriceSet"]
        return found

    def line(self, doc: Document) -> View:
        price = bag(doc["price_set"])
        total = bag(doc["price_set"], doc["quantity"])
        return {
            "__typename": "LineItem", "id": gid("LineItem", doc["id"]), "title": doc["title"], "name": doc["name"],
            "sku": doc["sku"] or None,
            "quantity": doc["quantity"], "currentQuantity": doc["current_quantity"], "requiresShipping": doc["requires_shipping"],
            "taxable": doc["taxable"], "vendor": doc["vendor"], "variantTitle": doc["variant_title"],
            "customAttributes": [{"key": p["name"], "value": p["value"]} for p in doc["properties"]],
            "originalUnitPriceSet": price, "discountedUnitPriceSet": price, "originalTotalSet": total, "discountedTotalSet": total,
            "totalDiscountSet": bag(doc["total_discount_set"]),
            "variant": lambda info: self.variant_by_id(doc["variant_id"]) if doc["variant_id"] else None,
            "product": lambda info: self.product_by_id(doc["product_id"]) if doc["product_id"] else None,
        }  # fmt: skip

    def fulfillment_by_id(self, number: int) -> View | None:
        row = self.store.one("SELECT parent FROM fulfillments WHERE id = ?", number)
        order = self.data.find("orders", row[0]) if row else None
        if order is None:
            return None
        return next(self.fulfillment(f, order) for f in order["fulfillments"] if f["id"] == number)

    def fulfillment(self, doc: Document, order: Document) -> View:
        lines = [
            {"id": gid("FulfillmentLineItem", line["id"]), "quantity": line["quantity"], "lineItem": self.line(line)}
            for line in doc["line_items"]
        ]
        numbers, urls = doc["tracking_numbers"], doc["tracking_urls"]
        tracking = [
            {"company": doc["tracking_company"], "number": number, "url": urls[n] if n < len(urls) else None}
            for n, number in enumerate(numbers)
        ]
        return {
            "__typename": "Fulfillment", "id": gid("Fulfillment", doc["id"]), "legacyResourceId": str(doc["id"]), "name": doc["name"],
            "status": doc["status"].upper(), "displayStatus": "FULFILLED", "createdAt": utc(doc["created_at"]),
            "updatedAt": utc(doc["updated_at"]), "location": lambda info: self.location(), "order": lambda info: self.order(order),
            "trackingInfo": lambda info, **args: tracking[: args.get("first")],
            "fulfillmentLineItems": lambda info, **args: list_connection(lines, args),
        }  # fmt: skip

    def fulfillment_order(self, doc: Document) -> View:
        is_whole, is_partial = doc["fulfillment_status"] == "fulfilled", doc["fulfillment_status"] == "partial"
        number = doc["id"] + FULFILLMENT_ORDER_OFFSET
        lines = [
            {"id": gid("FulfillmentOrderLineItem", line["id"]), "sku": line["sku"] or None, "productTitle": line["title"],
             "variantTitle": line["variant_title"], "vendor": line["vendor"], "requiresShipping": line["requires_shipping"],
             "totalQuantity": line["quantity"], "remainingQuantity": line["fulfillable_quantity"], "lineItem": self.line(line),
             "inventoryItemId": None,
             "variant": lambda info, line=line: self.variant_by_id(line["variant_id"]) if line["variant_id"] else None}
            for line in doc["line_items"]
        ]  # fmt: skip
        status = (
            "CANCELLED" if doc["cancelled_at"] else "CLOSED" if is_whole else "IN_PROGRESS" if is_partial else "OPEN"
        )
        return {
            "__typename": "FulfillmentOrder", "id": gid("FulfillmentOrder", number), "status": status, "orderId": gid("Order", doc["id"]),
            "orderName": doc["name"], "createdAt": utc(doc["created_at"]), "updatedAt": utc(doc["updated_at"]),
            "order": lambda info: self.order(doc), "lineItems": lambda info, **args: list_connection(lines, args),
        }  # fmt: skip

    def shop(self) -> View:
        return {
            "__typename": "Shop", "id": gid("Shop", SHOP_ID), "name": "Accord Sandbox", "email": "shop@sandbox.example",
            "contactEmail": "shop@sandbox.example", "myshopifyDomain": SHOP_DOMAIN, "currencyCode": "EUR", "taxesIncluded": True,
            "ianaTimezone": "Europe/Berlin", "createdAt": SHOP_CREATED_AT, "updatedAt": SHOP_CREATED_AT,
        }  # fmt: skip


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def bag(doc: Document, factor: int = 1) -> View:
    def money(given: Document) -> View:
        amount = given["amount"] if factor == 1 else str(Decimal(given["amount"]) * factor)
        return {"amount": amount, "currencyCode": given["currency_code"]}

    return {"shopMoney": money(doc["shop_money"]), "presentmentMoney": money(doc["presentment_money"])}


def number_of(text: str) -> int:
    """The number at the end of a global id of any kind; 0 when there is none."""
    digits = text.rpartition("/")[2].partition("?")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 19 else 0


def gid_is(text: str, kind: str, number: int) -> bool:
    return text in (gid(kind, number), str(number))
