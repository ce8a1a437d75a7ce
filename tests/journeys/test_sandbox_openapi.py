"""The REST stand-ins keep the promises of their own OpenAPI documents, whatever is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import checks

from accord.sandbox import Sandbox

checks.load_all_checks()
CHECKS = checks.CHECKS.get_by_names(
    ["not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"]
)
DOORS = [
    ("inventory", "Authorization", "token", "Bearer {}"),
    ("shipping", "X-Api-Key", "api_key", "{}"),
    ("marketing", "Authorization", "token", "Bearer {}"),
    ("helpdesk", "X-Api-Key", "api_key", "{}"),
]


@pytest.mark.parametrize(("name", "header", "secret", "form"), DOORS)
def test_the_api_keeps_its_document(tmp_path: Path, name: str, header: str, secret: str, form: str) -> None:
    with Sandbox(tmp_path, [name]) as sandbox:
        address = sandbox.address(name)
        document = requests.get(f"{address}/openapi.json", timeout=10).json()
        schema = schemathesis.openapi.from_dict(document)
        headers = {header: form.format(sandbox.credentials(name)[secret])}
        operations = [result.ok() for result in schema.get_all_operations()]
        assert len(operations) >= 4
        for operation in operations:

            @given(case=operation.as_strategy())
            @settings(
                max_examples=25,
                deadline=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            def holds(case: Any) -> None:
                case.call_and_validate(base_url=address, headers=headers, checks=CHECKS)

            holds()
        assert sandbox.health(name)["up"]
