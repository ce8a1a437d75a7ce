"""The objects of the org: fields with their types, as describe tells them. Pure.

Source: Salesforce, "Object Reference" (standard fields), "REST API Developer Guide" (describe results), "SOAP API Developer Guide"
(field types).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec


class FieldSpec(msgspec.Struct, frozen=True, kw_only=True):
    """``type`` as describe names it. ``reference``: the object an id points to; ``relationship``: how a query walks there."""

    name: str
    type: str = "string"
    length: int = 255
    is_required: bool = False
    is_external_id: bool = False
    is_writable: bool = True
    precision: int = 18
    scale: int = 2
    values: tuple[str, ...] = ()
    reference: str = ""
    relationship: str = ""


class ObjectSpec(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    label: str
    prefix: str  # first three characters of ids
    fields: Mapping[str, FieldSpec]
    is_custom: bool = False

    def relationships(self) -> dict[str, FieldSpec]:
        return {field.relationship: field for field in self.fields.values() if field.relationship}


STAGES = (
    "Prospecting", "Qualification", "Needs Analysis", "Proposal/Price Quote", "Negotiation/Review", "Closed Won", "Closed Lost",
)  # fmt: skip
_ADDRESS = ("Street", "City", "State", "PostalCode", "Country")


def _text(name: str, length: int = 255, *, required: bool = False) -> FieldSpec:
    return FieldSpec(name=name, length=length, is_required=required)


def _of(name: str, kind: str, *, required: bool = False, writable: bool = True, scale: int = 2) -> FieldSpec:
    return FieldSpec(name=name, type=kind, is_required=required, is_writable=writable, scale=scale)


def _external(name: str) -> FieldSpec:
    return FieldSpec(name=name, length=80, is_external_id=True)


def _pick(name: str, *values: str, required: bool = False) -> FieldSpec:
    return FieldSpec(name=name, type="picklist", values=values, is_required=required)


def _to(name: str, target: str) -> FieldSpec:
    walk = name[:-1] + "r" if name.endswith("__c") else name.removesuffix("Id")
    return FieldSpec(name=name, type="reference", length=18, reference=target, relationship=walk)


def _addresses(*prefixes: str) -> list[FieldSpec]:
    return [_text(prefix + part) for prefix in prefixes for part in _ADDRESS]


SYSTEM_FIELDS = (
    FieldSpec(name="Id", type="id", length=18, is_writable=False),
    _of("IsDeleted", "boolean", writable=False),
    _of("CreatedDate", "datetime", writable=False),
    _of("LastModifiedDate", "datetime", writable=False),
    _of("SystemModstamp", "datetime", writable=False),
)


def _object(name: str, prefix: str, *fields: FieldSpec, label: str = "") -> ObjectSpec:
    every = {field.name: field for field in (*SYSTEM_FIELDS, *fields)}
    return ObjectSpec(name=name, label=label or name, prefix=prefix, fields=every, is_custom=name.endswith("__c"))


OBJECTS: Mapping[str, ObjectSpec] = {
    spec.name.lower(): spec
    for spec in (
        _object(
            "Account", "001",
            _text("Name", required=True), _text("AccountNumber", 40), _pick("Type", "Prospect", "Customer - Direct", "Other"),
            _text("Industry"), _of("Phone", "phone"), _of("Website", "url"), _of("AnnualRevenue", "currency", scale=0),
            _of("NumberOfEmployees", "int"), _text("Description", 32_000), _of("Email__c", "email"), _of("Is_Customer__c", "boolean"),
            _external("Shop_Id__c"), _external("Accounting_Id__c"), *_addresses("Billing", "Shipping"),
        ),
        _object(
            "Contact", "003",
            _of("Name", "string", writable=False), _text("FirstName", 40), _text("LastName", 80, required=True), _of("Email", "email"),
            _of("Phone", "phone"), _of("MobilePhone", "phone"), _text("Title", 128), _of("Birthdate", "date"), _to("AccountId", "Account"),
            FieldSpec(name="Interests__c", type="multipicklist", values=("Home", "Garden", "Office")),
            _of("HasOptedOutOfEmail", "boolean"), _external("Shop_Id__c"), *_addresses("Mailing"),
        ),
        _object(
            "Opportunity", "006",
            _text("Name", 120, required=True), _pick("StageName", *STAGES, required=True), _of("CloseDate", "date", required=True),
            _of("Amount", "currency"), _of("Probability", "percent", scale=0), _pick("Type", "New Customer", "Existing Customer - Upgrade"),
            _text("NextStep"), _text("Description", 32_000), _to("AccountId", "Account"), _to("ContactId", "Contact"),
            _of("IsWon", "boolean", writable=False), _of("IsClosed", "boolean", writable=False),
            _external("Order_Number__c"), _external("Invoice_Number__c"),
        ),
        _object(
            "Lead", "00Q",
            _of("Name", "string", writable=False), _text("FirstName", 40), _text("LastName", 80, required=True),
            _text("Company", required=True), _of("Email", "email"),
            _of("Phone", "phone"), _pick("Status", "Open - Not Contacted", "Working - Contacted", "Closed - Converted"),
        ),
        _object(
            "Case", "500",
            _text("Subject"), _text("Description", 32_000), _pick("Status", "New", "Working", "Escalated", "Closed"),
            _pick("Origin", "Email", "Phone", "Web"), _pick("Priority", "High", "Medium", "Low"), _to("AccountId", "Account"),
            _to("ContactId", "Contact"), _external("Ticket_Id__c"),
        ),
        _object(
            "Product2", "01t",
            _text("Name", required=True), _text("ProductCode"), _of("IsActive", "boolean"), _text("Description", 4_000),
            _external("Sku__c"), label="Product",
        ),
        _object(
            "Subscription__c", "a00",
            _text("Name", 80), _to("Account__c", "Account"), _of("Monthly__c", "currency"), _of("Starts__c", "datetime"),
            _external("Contract__c"), label="Subscription",
        ),
    )
}  # fmt: skip

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SUFFIX = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_ID = re.compile(r"[a-zA-Z0-9]{15}(?:[a-zA-Z0-9]{3})?")


def record_id(prefix: str, number: int) -> str:
    """18 characters: the 15 that are told apart by case, and three that say which of them are capitals."""
    digits = ""
    while number:
        number, at = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[at] + digits
    return with_suffix(prefix + digits.rjust(12, "0"))


def with_suffix(id15: str) -> str:
    bits = [sum(1 << i for i, c in enumerate(id15[at : at + 5]) if c.isascii() and c.isupper()) for at in (0, 5, 10)]
    return id15 + "".join(_SUFFIX[bit] for bit in bits)


def full_id(text: str) -> str | None:
    """The id in 18 characters; None when it is none."""
    return with_suffix(text[:15]) if _ID.fullmatch(text) else None


def described(spec: ObjectSpec, data_path: str) -> dict[str, Any]:
    return {
        **listed(spec, data_path),
        "fields": [_told(field) for field in spec.fields.values()],
        "recordTypeInfos": [],
    }


def listed(spec: ObjectSpec, data_path: str) -> dict[str, Any]:
    base = f"{data_path}/sobjects/{spec.name}"
    return {
        "name": spec.name, "label": spec.label, "labelPlural": f"{spec.label}s", "keyPrefix": spec.prefix, "custom": spec.is_custom,
        "queryable": True, "createable": True, "updateable": True, "deletable": True, "deprecatedAndHidden": False,
        "urls": {"sobject": base, "describe": f"{base}/describe", "rowTemplate": f"{base}/{{ID}}"},
    }  # fmt: skip


def _told(field: FieldSpec) -> dict[str, Any]:
    is_number = field.type in ("currency", "double", "percent")
    return {
        "name": field.name, "label": field.name.removesuffix("__c").replace("_", " "), "type": field.type,
        "length": field.length if field.type not in ("boolean", "date", "datetime", "int") and not is_number else 0,
        "precision": field.precision if is_number else 0, "scale": field.scale if is_number else 0,
        "nillable": not field.is_required and field.is_writable and field.type != "boolean",
        "createable": field.is_writable, "updateable": field.is_writable, "custom": field.name.endswith("__c"),
        "externalId": field.is_external_id, "unique": field.is_external_id, "idLookup": field.is_external_id or field.name == "Id",
        "referenceTo": [field.reference] if field.reference else [], "relationshipName": field.relationship or None,
        "picklistValues": [{"value": v, "label": v, "active": True, "defaultValue": False} for v in field.values],
        "deprecatedAndHidden": False,
    }  # fmt: skip
