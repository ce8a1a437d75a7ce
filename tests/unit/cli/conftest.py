"""A terminal: commands run in this process, on a fresh copy of what `accord init` writes."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from accord.cli.main import main


class Said(msgspec.Struct, frozen=True):
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


Run = Callable[..., Said]


@pytest.fixture
def run(monkeypatch, capsys) -> Run:
    """``run("check", "-p", folder)``: exit code and what was printed. An unforeseen exception fails the test."""

    def run_(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["accord", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return Said(code, printed.out, printed.err)

    return run_


@pytest.fixture(scope="session")
def pattern(tmp_path_factory) -> Path:
    """A home with a project ``acme`` and its key; copied by ``acme``."""
    home = tmp_path_factory.mktemp("home")
    before = {name: os.environ.get(name) for name in ("HOME", "ACCORD_KEY", "ACCORD_ENV", "XDG_CONFIG_HOME")}
    argv = sys.argv
    try:
        os.environ["HOME"] = str(home)
        for name in ("ACCORD_KEY", "ACCORD_ENV", "XDG_CONFIG_HOME"):
            os.environ.pop(name, None)
        sys.argv = ["accord", "init", str(home / "acme")]
        main()
    finally:
        sys.argv = argv
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    return home


@pytest.fixture
def home(pattern, tmp_path, monkeypatch) -> Path:
    """A home of the test's own, with the key of ``acme`` in it."""
    copied = tmp_path / "home"
    shutil.copytree(pattern, copied)
    monkeypatch.setenv("HOME", str(copied))
    for name in ("ACCORD_KEY", "ACCORD_ENV", "XDG_CONFIG_HOME", "VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    return copied


@pytest.fixture
def acme(home) -> Path:
    """The project's folder."""
    return home / "acme"
