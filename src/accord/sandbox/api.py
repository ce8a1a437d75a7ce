"""What the REST stand-ins share: credentials first, OpenAPI served, bodies decoded, pages built."""

from __future__ import annotations

from importlib import resources
from typing import Any, TypeVar

import msgspec
import yaml

from accord.sandbox.http_server import Refusal, Request, Response, json_response, refusal_response
from accord.sandbox.system import Config, System

T = TypeVar("T")


class RestSystem(System):
    """Serves ``openapi.yaml`` of the package named in OPENAPI at ``/openapi.json``, open to all; the rest needs credentials."""

    OPENAPI = ""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        text = resources.files(self.OPENAPI).joinpath("openapi.yaml").read_text(encoding="utf-8")
        document = yaml.safe_load(text)
        document["servers"] = [{"url": f"http://{config.host}:{config.ports['main']}"}]
        self._document = json_response(document)

    def authorize(self, request: Request) -> None:
        """Raises Refusal 401 when the request shows no valid credentials."""
        raise NotImplementedError

    async def answer(self, request: Request) -> Response:
        if request.path == "/openapi.json" and request.method in ("GET", "HEAD"):
            return self._document
        try:
            self.authorize(request)
        except Refusal as refusal:
            return refusal_response(refusal)
        return await self.router(request)


def decode_body(request: Request, kind: type[T]) -> T:
    """The body as the given Struct; raises Refusal 400 for broken JSON, 415 for another type, 422 for a wrong shape."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal(415, "not-json", "Send the body as Content-Type: application/json.")
    try:
        return msgspec.json.decode(request.body, type=kind)
    except msgspec.ValidationError as fault:
        raise Refusal(422, "invalid", f"The body does not fit: {fault}") from fault
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise Refusal(400, "bad-json", f"The body is not JSON: {fault}") from fault


def whole_number(query: dict[str, str], name: str, default: int, least: int, most: int) -> int:
    """A query value as a whole number within bounds; raises Refusal 400."""
    text = query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 12 and least <= int(text) <= most):
        raise Refusal(400, "bad-query", f"{name} must be a whole number from {least} to {most}.")
    return int(text)


def page_of(kind: str, objects: list[dict[str, Any]], page: int, per_page: int, total: int) -> dict[str, Any]:
    """``next_page`` is null on the last page."""
    return {kind: objects, "page": page, "total": total, "next_page": page + 1 if page * per_page < total else None}
