"""Contacts are kept by external id: putting one again changes it. A tag and the campaigns it leads into are committed together."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from accord.sandbox.api import RestSystem, decode_body, page_of, whole_number
from accord.sandbox.http_server import Refusal, Request, Response, json_response
from accord.sandbox.store import now_text
from accord.sandbox.system import Config

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Tag = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]{0,49}$")]
CAMPAIGNS = (("Welcome", "new-lead"), ("Follow-up after a won deal", "follow-up"), ("Spring sale", "spring"))


class Contact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    email: Annotated[str, msgspec.Meta(pattern=r"^[^@\s]+@[^@\s]+$", max_length=320)] | None = None
    first_name: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    last_name: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    company: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    status: Literal["lead", "customer"] = "lead"
    tags: Annotated[tuple[Tag, ...], msgspec.Meta(max_length=50)] = ()


class Tags(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    add: Annotated[tuple[Tag, ...], msgspec.Meta(max_length=50)] = ()
    remove: Annotated[tuple[Tag, ...], msgspec.Meta(max_length=50)] = ()


class NewCampaign(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Text
    tag: Tag


class Marketing(RestSystem):
    OPENAPI = "accord.sandbox.marketing"
    SCHEMA = """
    CREATE TABLE IF NOT EXISTS contacts (external_id TEXT PRIMARY KEY, email TEXT, updated_at TEXT NOT NULL, body BLOB NOT NULL);
    CREATE INDEX IF NOT EXISTS contacts_email ON contacts (email);
    CREATE TABLE IF NOT EXISTS campaigns (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, tag TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS members (campaign INTEGER NOT NULL, external_id TEXT NOT NULL, since TEXT NOT NULL,
      PRIMARY KEY (campaign, external_id));
    """
    STATE = {
        "contacts": "SELECT body FROM contacts ORDER BY external_id",
        "campaigns": "SELECT id, name, tag FROM campaigns ORDER BY id",
        "members": "SELECT campaign, external_id, since FROM members ORDER BY campaign, external_id",
    }

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.router.add("PUT", "/contacts/{external_id}", self.put_contact)
        self.router.add("GET", "/contacts/{external_id}", self.get_contact)
        self.router.add("GET", "/contacts", self.list_contacts)
        self.router.add("POST", "/contacts/{external_id}/tags", self.change_tags)
        self.router.add("POST", "/campaigns", self.create_campaign)
        self.router.add("GET", "/campaigns", self.list_campaigns)
        self.router.add("GET", "/campaigns/{id}/members", self.list_members)

    def authorize(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {self.config.credentials['token']}":
            challenge = (("WWW-Authenticate", 'Bearer realm="marketing"'),)
            raise Refusal(401, "unauthorized", "Send the header Authorization: Bearer <token>.", headers=challenge)

    def seed(self) -> None:
        self.store.db.executemany("INSERT INTO campaigns (name, tag) VALUES (?, ?)", CAMPAIGNS)

    # --- contacts

    def put_contact(self, request: Request) -> Response:
        """201 for a new one, else 200. Fields that are left out keep what they hold; tags are added, never taken."""
        asked = decode_body(request, Contact)
        external_id = request.parameters["external_id"][:200]
        with self.store.transaction():
            there = self._contact(external_id)
            given = {name: value for name, value in msgspec.to_builtins(asked).items() if name != "tags"}
            now = now_text()
            contact = {
                "external_id": external_id, "email": None, "first_name": None, "last_name": None, "company": None,
                "status": "lead", "tags": [], "created_at": now, **(there or {}), **given, "updated_at": now,
            }  # fmt: skip
            self._keep(contact, [*contact["tags"], *asked.tags])
        return json_response(contact, 200 if there else 201)

    def change_tags(self, request: Request) -> Response:
        asked = decode_body(request, Tags)
        with self.store.transaction():
            contact = self._found(request)
            contact["updated_at"] = now_text()
            kept = [tag for tag in (*contact["tags"], *asked.add) if tag not in asked.remove]
            self._keep(contact, kept)
        return json_response(contact)

    def _keep(self, contact: dict[str, Any], tags: list[str]) -> None:
        contact["tags"] = sorted(set(tags))
        row = (contact["external_id"], contact["email"], contact["updated_at"], msgspec.json.encode(contact))
        self.store.db.execute("INSERT OR REPLACE INTO contacts VALUES (?, ?, ?, ?)", row)
        for tag in contact["tags"]:
            sql = "INSERT OR IGNORE INTO members SELECT id, ?, ? FROM campaigns WHERE tag = ?"
            self.store.db.execute(sql, (contact["external_id"], contact["updated_at"], tag))

    def get_contact(self, request: Request) -> Response:
        return json_response(self._found(request))

    def _found(self, request: Request) -> dict[str, Any]:
        name = request.parameters["external_id"]
        contact = self._contact(name)
        if contact is None:
            raise Refusal(404, "unknown-contact", f"There is no contact {name[:100]!r}.")
        return contact

    def _contact(self, external_id: str) -> dict[str, Any] | None:
        row = self.store.one("SELECT body FROM contacts WHERE external_id = ?", external_id)
        found: dict[str, Any] | None = msgspec.json.decode(row[0]) if row else None
        return found

    def list_contacts(self, request: Request) -> Response:
        query = request.query
        where, values = ("WHERE email = ?", (query["email"],)) if "email" in query else ("", ())
        return self._page("contacts", f"contacts {where}", "body", "external_id", values, query)

    # --- campaigns

    def create_campaign(self, request: Request) -> Response:
        asked = decode_body(request, NewCampaign)
        key = request.headers.get("idempotency-key", "")
        return self.store.once("campaigns", key, request, lambda: self._create_campaign(asked))

    def _create_campaign(self, asked: NewCampaign) -> Response:
        sql = "INSERT INTO campaigns (name, tag) VALUES (?, ?)"
        number = self.store.db.execute(sql, (asked.name, asked.tag)).lastrowid
        return json_response({"id": number, "name": asked.name, "tag": asked.tag}, 201)

    def list_campaigns(self, request: Request) -> Response:
        rows = self.store.all("SELECT id, name, tag FROM campaigns ORDER BY id")
        return json_response({"campaigns": [{"id": n, "name": name, "tag": tag} for n, name, tag in rows]})

    def list_members(self, request: Request) -> Response:
        text = request.parameters["id"]
        is_number = text.isascii() and text.isdigit() and len(text) < 16
        if not is_number or self.store.one("SELECT 1 FROM campaigns WHERE id = ?", int(text)) is None:
            raise Refusal(404, "unknown-campaign", f"There is no campaign {text[:100]!r}.")
        source = "members m JOIN contacts c USING (external_id) WHERE m.campaign = ?"
        return self._page("contacts", source, "c.body", "m.since, external_id", (int(text),), request.query)

    def _page(
        self, kind: str, source: str, column: str, order: str, values: tuple[Any, ...], query: dict[str, str]
    ) -> Response:
        total = self.store.number(f"SELECT count(*) FROM {source}", *values)  # noqa: S608
        page, per_page = whole_number(query, "page", 1, 1, 1_000_000), whole_number(query, "per_page", 50, 1, 500)
        sql = f"SELECT {column} FROM {source} ORDER BY {order} LIMIT ? OFFSET ?"  # noqa: S608
        rows = self.store.all(sql, *values, per_page, (page - 1) * per_page)
        return json_response(page_of(kind, [msgspec.json.decode(row[0]) for row in rows], page, per_page, total))
