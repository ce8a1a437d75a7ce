"""schemathesis against the engine's own OpenAPI: no server error, no undeclared answer, whatever is sent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from journeys.hooks_project import HooksProject


def test_the_http_surface_holds_against_generated_requests(tmp_path: Path) -> None:
    with HooksProject(tmp_path) as project:
        command = [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{project.address}/openapi.json",
            "--header",
            f"Authorization: Bearer {project.token}",
            "--checks",
            "not_a_server_error,response_schema_conformance,content_type_conformance",
            "--max-examples",
            "25",
            "--seed",
            "1",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=tmp_path, check=False)
        assert done.returncode == 0, done.stdout[-4000:]
        assert project.get("/healthz")[0] == 200
