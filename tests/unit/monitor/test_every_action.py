"""Whatever a page does is also a request of the control API and a command."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import click
import yaml

import accord.engine
import accord.monitor
from accord.cli.main import COMMANDS

TEMPLATES = Path(accord.monitor.__file__).parent / "templates"
OPENAPI = Path(accord.engine.__file__).parent / "openapi.yaml"
SIGNING = {"/monitor/login", "/monitor/logout"}  # the API and commands say with each request who asks
AS = {  # address of a form → path of the API, command
    "/monitor/flows/{}/pause": ("/api/flows/{}/pause", "pause"),
    "/monitor/flows/{}/resume": ("/api/flows/{}/resume", "resume"),
    "/monitor/flows/{}/replay": ("/api/dead-letters/{}/replay", "dead replay"),
    "/monitor/systems/{}/pause": ("/api/systems/{}/pause", "pause"),
    "/monitor/systems/{}/resume": ("/api/systems/{}/resume", "resume"),
    "/monitor/systems/{}/test": ("/api/systems/{}/test", "systems test"),
    "/monitor/messages/{}/pause": ("/api/messages/{}/pause", "pause"),
    "/monitor/messages/{}/resume": ("/api/messages/{}/resume", "resume"),
    "/monitor/messages/{}/cancel": ("/api/messages/{}/cancel", "cancel"),
    "/monitor/dead/{}/replay": ("/api/dead-letters/{}/replay", "dead replay"),
    "/monitor/dead/{}/discard": ("/api/dead-letters/{}/discard", "dead discard"),
    "/monitor/alerts/{}/silence": ("/api/alerts/{}/silence", "alerts silence"),
    "/monitor/alerts/{}/tell": ("/api/alerts/{}/silence", "alerts silence"),
    "/monitor/causes/{}/replay": ("/api/dead-letters/{}/replay", "dead replay"),
}


def addresses() -> set[str]:
    """Where the forms of all templates go; what is put into an address is {}."""
    found = set()
    for template in TEMPLATES.glob("*.html"):
        text = template.read_text("utf-8")
        for called in re.findall(r"""action\((".*?"), *"[A-Z]""", text):
            found.add(re.sub(r'" *~[^"]*~ *"', "{}", called).strip('"'))
        for written in re.findall(r'method="post" action="(/monitor[^"]*)"', text):
            found.add(re.sub(r"\{\{.*?\}\}", "{}", written))
    return found


def command(words: str) -> click.Command:
    name, *rest = words.split()
    assert name in COMMANDS
    module = importlib.import_module(f"accord.cli.{name}")
    found: click.Command = module.command
    for word in rest:
        assert isinstance(found, click.Group)
        found = found.commands[word]
    return found


def test_every_form_has_its_request_and_its_command() -> None:
    found = addresses() - SIGNING
    assert len(found) >= 8, "the templates are read"
    paths = {
        re.sub(r"\{\w+\}", "{}", path): set(each) for path, each in yaml.safe_load(OPENAPI.read_text())["paths"].items()
    }
    for address in sorted(found):
        assert address in AS, f"{address}: say in this test which request and which command do the same"
        path, words = AS[address]
        assert "post" in paths[path], address
        assert command(words).help
