"""Refusals as Salesforce words them: a list of ``{message, errorCode, fields}``."""

from __future__ import annotations

from typing import Any

import msgspec

from accord.sandbox.http_server import Response


class Refused(Exception):
    """One record, or a whole request, is refused."""

    def __init__(self, code: str, message: str, fields: tuple[str, ...] = (), status: int = 400) -> None:
        self.code, self.message, self.fields, self.status = code, message, fields, status
        super().__init__(message)

    def told(self) -> dict[str, Any]:
        """Within the result of a collection."""
        return {"statusCode": self.code, "message": self.message, "fields": list(self.fields)}

    def response(self) -> Response:
        error: dict[str, Any] = {"message": self.message, "errorCode": self.code}
        if self.fields:
            error["fields"] = list(self.fields)
        return Response(self.status, msgspec.json.encode([error]))
