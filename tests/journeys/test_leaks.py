"""Planted secrets and personal values are searched for in everything an operator can see."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

from journeys.hooks_project import SECRET, HooksProject, encode, order

MAIL = "marked.person@planted.example"


def test_nothing_personal_or_secret_shows(tmp_path: Path) -> None:
    with HooksProject(tmp_path) as project:
        bodies = [
            encode(order(1, email=MAIL)),
            encode(order(2, email=MAIL, currency="???")),
            encode(order(3, email=MAIL + " broken")),
            encode(order(4, email=[MAIL])),
            encode({"id": 5, "email": MAIL, "undeclared": MAIL}),
            MAIL.encode(),
            encode([MAIL]),
        ]
        for body in bodies:
            assert project.hook(body, id=f"leak-{random.random()}")[0] == 200
        project.hook(bodies[0], signature="Zm9v")
        project.wait_settled()
        seen = [json.dumps(project.api(path)) for path in ("status", "messages?limit=1000", "dead-letters?limit=1000")]
        for arguments in (
            ["status"],
            ["messages"],
            ["dead", "list"],
            ["dead", "show", "2"],
            ["status", "--json"],
            ["check"],
        ):
            command = [sys.executable, "-m", "accord.cli.main", *arguments, "--project", str(tmp_path)]
            done = subprocess.run(
                command, env=project.environment, capture_output=True, text=True, timeout=60, check=False
            )
            seen.append(done.stdout + done.stderr)
        dead = project.api("status")["flows"][0]["dead"]
    seen.append((tmp_path / "accord.log").read_text())
    assert dead == len(bodies) - 1
    for text in seen:
        assert "marked.person" not in text
        assert SECRET not in text
        assert project.token not in text
