"""Records: validated, written, found. A write and its indexes are one transaction of the caller."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from accord.sandbox.crm.errors import Refused
from accord.sandbox.crm.objects import OBJECTS, FieldSpec, ObjectSpec, full_id, record_id
from accord.sandbox.crm.soql import Query, folded
from accord.sandbox.store import Store

SCHEMA = """
CREATE TABLE IF NOT EXISTS records (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, object TEXT NOT NULL,
  is_deleted INTEGER NOT NULL DEFAULT 0, stamp TEXT NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS records_stamp ON records (object, stamp, id);
CREATE TABLE IF NOT EXISTS external_ids (object TEXT NOT NULL, field TEXT NOT NULL, value TEXT NOT NULL COLLATE NOCASE,
  id TEXT NOT NULL, PRIMARY KEY (object, field, value)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS external_ids_record ON external_ids (id);
"""
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_MAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


def moment_text(when: dt.datetime) -> str:
    """As Salesforce writes date-times: ``2026-11-22T10:00:00.000+0000``."""
    return when.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}+0000"


def object_of(name: str) -> ObjectSpec:
    """Raises Refused as for an unknown resource."""
    spec = OBJECTS.get(name.lower())
    if spec is None:
        raise Refused("NOT_FOUND", "The requested resource does not exist", status=404)
    return spec


class Records:
    """``now``: the org's clock; stamps have whole seconds, as an org's have."""

    def __init__(self, store: Store, now: Any) -> None:
        self._store = store
        self._now = now

    # --- finding

    def get(self, id_: str, *, with_deleted: bool = False) -> dict[str, Any] | None:
        full = full_id(id_)
        row = self._store.one("SELECT body, is_deleted FROM records WHERE id = ?", full) if full else None
        if row is None or (row[1] and not with_deleted):
            return None
        found: dict[str, Any] = msgspec.json.decode(row[0])
        return found

    def by_external(self, spec: ObjectSpec, field: str, value: str) -> str | None:
        """The id of the record. Raises Refused when the field is none to find records by."""
        known = field_of(spec, field)
        if not known.is_external_id:
            message = f"Provided external ID field does not exist or is not accessible: {field}"
            raise Refused("NOT_FOUND", message, status=404)
        sql = "SELECT id FROM external_ids WHERE object = ? AND field = ? AND value = ?"
        row = self._store.one(sql, spec.name, known.name, value)
        return row[0] if row else None

    def select(self, query: Query, *, with_deleted: bool = False) -> list[dict[str, Any]]:
        """The records a query finds, with the asked columns. Raises Refused."""
        spec = OBJECTS.get(query.object.lower())
        if spec is None:
            raise Refused("INVALID_TYPE", f"sObject type '{query.object}' is not supported.")
        paths = {name: self._path(spec, name) for name in query.names}
        found = []
        for record in self._candidates(spec, query, with_deleted):

            def look(name: str, record: dict[str, Any] = record) -> Any:
                return self._comparable(record, paths[name])

            if query.where is None or query.where(look):
                found.append(record)
        for order in reversed(query.orders):
            path = paths[order.name]
            keyed = [(self._comparable(record, path), record) for record in found]
            known = sorted(
                (one for one in keyed if one[0] is not None),
                key=lambda one: folded(one[0]),
                reverse=order.is_descending,
            )
            unknown = [one for one in keyed if one[0] is None]
            found = [record for _, record in (known + unknown if order.are_nulls_last else unknown + known)]
        end = None if query.limit is None else query.offset + query.limit
        return [
            self._row(spec, record, [paths[name] for name in query.columns]) for record in found[query.offset : end]
        ]

    def _candidates(self, spec: ObjectSpec, query: Query, with_deleted: bool) -> Iterator[dict[str, Any]]:
        ids: list[str] | None = None
        for name, value in query.equals.items():
            field = spec.fields.get(next((known for known in spec.fields if known.lower() == name), ""))
            if field is not None and field.name == "Id" and isinstance(value, str):
                row = self._store.one("SELECT id FROM records WHERE id = ? COLLATE NOCASE", value)
                ids = [row[0]] if row else []
            elif field is not None and field.is_external_id and isinstance(value, str):
                one = self.by_external(spec, field.name, value)
                ids = [one] if one else []
        if ids is not None:
            found = [self.get(id_, with_deleted=with_deleted) for id_ in ids]
            yield from (record for record in found if record is not None)
            return
        sql = "SELECT body FROM records WHERE object = ? AND is_deleted <= ? ORDER BY stamp, id"
        for (body,) in self._store.all(sql, spec.name, int(with_deleted)):
            yield msgspec.json.decode(body)

    def _path(self, spec: ObjectSpec, name: str) -> tuple[FieldSpec, ...]:
        """Reference fields on the way, and the field at its end. Raises Refused as for a query."""
        *parents, last = name.split(".")
        path: list[FieldSpec] = []
        for parent in parents:
            if parent.lower() == spec.name.lower() and not path:
                continue
            field = next((f for known, f in spec.relationships().items() if known.lower() == parent.lower()), None)
            if field is None:
                message = f"Didn't understand relationship '{parent}' in field path."
                raise Refused("INVALID_FIELD", message)
            path.append(field)
            spec = OBJECTS[field.reference.lower()]
        return (*path, field_of(spec, last))

    def _comparable(self, record: dict[str, Any], path: tuple[FieldSpec, ...]) -> Any:
        value = self._value(record, path)
        if isinstance(value, str) and path[-1].type == "datetime":
            return dt.datetime.fromisoformat(value)
        if isinstance(value, str) and path[-1].type == "date":
            return dt.date.fromisoformat(value)
        return value

    def _value(self, record: dict[str, Any], path: tuple[FieldSpec, ...]) -> Any:
        at: dict[str, Any] | None = record
        for field in path[:-1]:
            id_ = at.get(field.name) if at else None
            at = self.get(id_, with_deleted=True) if id_ else None
        return at.get(path[-1].name) if at else None

    def _row(self, spec: ObjectSpec, record: dict[str, Any], paths: list[tuple[FieldSpec, ...]]) -> dict[str, Any]:
        row: dict[str, Any] = {"attributes": {"type": spec.name, "id": record["Id"]}}
        for path in paths:
            at, here, parent = row, record, ""
            for field in path[:-1]:
                id_ = here.get(field.name) if here else None
                parent = field.relationship
                here = (self.get(id_, with_deleted=True) or {}) if id_ else {}
                if not here:
                    at.setdefault(parent, None)
                    break
                at = at.setdefault(parent, {"attributes": {"type": field.reference, "id": here["Id"]}})
            else:
                at[path[-1].name] = here.get(path[-1].name)
        return row

    # --- writing

    def create(self, spec: ObjectSpec, given: dict[str, Any]) -> str:
        """The new record's id. Raises Refused."""
        values = self._checked(spec, given)
        missing = tuple(f.name for f in spec.fields.values() if f.is_required and values.get(f.name) in (None, ""))
        if missing:
            raise Refused("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]", missing)
        now = self._now()
        sql = "INSERT INTO records (object, stamp, body) VALUES (?, ?, '')"
        number = int(self._store.db.execute(sql, (spec.name, moment_text(now))).lastrowid or 0)
        record = dict.fromkeys(spec.fields)
        for field in spec.fields.values():
            if field.type == "boolean":
                record[field.name] = False
        record |= {"Id": record_id(spec.prefix, number), "CreatedDate": moment_text(now), **values}
        self._store.db.execute("UPDATE records SET id = ? WHERE number = ?", (record["Id"], number))
        self._keep(spec, record)
        return str(record["Id"])

    def update(self, spec: ObjectSpec, id_: str, given: dict[str, Any]) -> None:
        """Raises Refused."""
        record = self._existing(spec, id_)
        values = self._checked(spec, given)
        emptied = tuple(n for n, v in values.items() if spec.fields[n].is_required and v in (None, ""))
        if emptied:
            raise Refused("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(emptied)}]", emptied)
        self._keep(spec, {**record, **values})

    def delete(self, id_: str, spec: ObjectSpec | None = None) -> None:
        """Into the recycle bin; its external ids are free again. Raises Refused."""
        record = self._existing(spec, id_)
        self._store.db.execute("DELETE FROM external_ids WHERE id = ?", (record["Id"],))
        record["IsDeleted"] = True
        stamp = self._stamped(record)
        sql = "UPDATE records SET is_deleted = 1, stamp = ?, body = ? WHERE id = ?"
        self._store.db.execute(sql, (stamp, msgspec.json.encode(record), record["Id"]))

    def upsert(self, spec: ObjectSpec, field: str, value: str, given: dict[str, Any]) -> tuple[str, bool]:
        """The record's id, and whether it was created. Raises Refused."""
        id_ = self.by_external(spec, field, value)
        values = {**given, field_of(spec, field).name: value}
        if id_ is None:
            return self.create(spec, values), True
        self.update(spec, id_, values)
        return id_, False

    def _existing(self, spec: ObjectSpec | None, id_: str) -> dict[str, Any]:
        full = full_id(id_)
        if full is None:
            raise Refused("MALFORMED_ID", f"malformed id {id_[:40]}", ("Id",))
        found = self.get(full, with_deleted=True)
        if found is None or (spec is not None and not full.startswith(spec.prefix)):
            raise Refused("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", status=404)
        if found["IsDeleted"]:
            raise Refused("ENTITY_IS_DELETED", "entity is deleted", status=404)
        return found

    def _stamped(self, record: dict[str, Any]) -> str:
        stamp = moment_text(self._now())
        record["LastModifiedDate"] = record["SystemModstamp"] = stamp
        return stamp

    def _keep(self, spec: ObjectSpec, record: dict[str, Any]) -> None:
        if spec.name == "Opportunity":
            record["IsWon"] = record["StageName"] == "Closed Won"
            record["IsClosed"] = str(record["StageName"]).startswith("Closed")
        if "LastName" in spec.fields:
            record["Name"] = " ".join(part for part in (record["FirstName"], record["LastName"]) if part)
        stamp = self._stamped(record)
        db = self._store.db
        db.execute("DELETE FROM external_ids WHERE id = ?", (record["Id"],))
        for field in spec.fields.values():
            value = record.get(field.name) if field.is_external_id else None
            if value in (None, ""):
                continue
            other = self.by_external(spec, field.name, str(value))
            if other is not None:
                message = f"duplicate value found: {field.name} duplicates value on record with id: {other[:15]}"
                raise Refused("DUPLICATE_VALUE", message)
            db.execute(
                "INSERT INTO external_ids VALUES (?, ?, ?, ?)", (spec.name, field.name, str(value), record["Id"])
            )
        db.execute(
            "UPDATE records SET stamp = ?, body = ? WHERE id = ?", (stamp, msgspec.json.encode(record), record["Id"])
        )

    # --- checking

    def _checked(self, spec: ObjectSpec, given: dict[str, Any]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in given.items():
            if name in ("attributes", "id", "Id"):
                continue
            parent = next((f for known, f in spec.relationships().items() if known.lower() == name.lower()), None)
            if parent is not None and isinstance(value, dict):
                values[parent.name] = self._parent(parent, value)
                continue
            field = field_of(spec, name, as_column=True)
            if not field.is_writable:
                message = (
                    f"Unable to create/update fields: {field.name}. Please check the security settings of this field."
                )
                raise Refused("INVALID_FIELD_FOR_INSERT_UPDATE", message, (field.name,))
            values[field.name] = None if value in (None, "") else self._value_of(field, value)
        return values

    def _parent(self, field: FieldSpec, given: dict[str, Any]) -> str:
        spec = OBJECTS[field.reference.lower()]
        names = [name for name in given if name != "attributes"]
        if len(names) != 1:
            raise Refused("INVALID_FIELD", "A reference by external id has exactly one field.", (field.name,))
        id_ = self.by_external(spec, names[0], str(given[names[0]]))
        if id_ is None:
            message = f"Foreign key external ID: {given[names[0]]} not found for field {names[0]} in entity {spec.name}"
            raise Refused("INVALID_FIELD", message)
        return id_

    def _value_of(self, field: FieldSpec, value: Any) -> Any:
        wrong = Refused(
            "JSON_PARSER_ERROR", f"Cannot deserialize instance of {field.type} from value {value!r:.60}", (field.name,)
        )
        match field.type:
            case "boolean":
                if not isinstance(value, bool):
                    raise wrong
                return value
            case "int" | "currency" | "double" | "percent":
                return _number(field, value, wrong)
            case "date":
                return _date(value, wrong)
            case "datetime":
                try:
                    return moment_text(dt.datetime.fromisoformat(value))
                except (TypeError, ValueError):
                    raise wrong from None
            case "reference":
                return self._reference(field, value)
        if not isinstance(value, str):
            raise wrong
        if len(value) > field.length:
            message = f"{field.name}: data value too large: {value[:60]} (max length={field.length})"
            raise Refused("STRING_TOO_LONG", message, (field.name,))
        if field.type == "email" and not _MAIL.fullmatch(value):
            raise Refused("INVALID_EMAIL_ADDRESS", f"{field.name}: invalid email address: {value[:80]}", (field.name,))
        return value

    def _reference(self, field: FieldSpec, value: Any) -> str:
        full = full_id(value) if isinstance(value, str) else None
        if full is None:
            raise Refused("MALFORMED_ID", f"{field.name}: id value of incorrect type: {str(value)[:40]}", (field.name,))
        if not full.startswith(OBJECTS[field.reference.lower()].prefix) or self.get(full) is None:
            raise Refused("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", (field.name,))
        return full


def field_of(spec: ObjectSpec, name: str, *, as_column: bool = False) -> FieldSpec:
    """By name, without regard to case. Raises Refused."""
    for known, field in spec.fields.items():
        if known.lower() == name.lower():
            return field
    where = "on sobject of type" if as_column else "on entity"
    raise Refused("INVALID_FIELD", f"No such column '{name}' {where} '{spec.name}'.")


def _number(field: FieldSpec, value: Any, wrong: Refused) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise wrong
    try:
        exact = Decimal(str(value))
    except InvalidOperation:
        raise wrong from None
    if field.type == "int" or field.scale == 0:
        if exact != exact.to_integral_value():
            raise wrong
        return int(exact)
    return exact.quantize(Decimal(1).scaleb(-field.scale))


def _date(value: Any, wrong: Refused) -> str:
    try:
        if isinstance(value, str) and _DATE.match(value):
            return dt.date.fromisoformat(value[:10]).isoformat()
    except ValueError:
        pass
    raise wrong
