"""Commands are found, help is there, and what a user can mend is told in a sentence."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from accord.cli.main import COMMANDS, accord, counted


def commands():
    context = click.Context(accord)
    for name in accord.list_commands(context):
        command = accord.get_command(context, name)
        yield [name], command
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                yield [name, inner], command.get_command(context, inner)


ALL = list(commands())


@pytest.mark.parametrize(("path", "command"), ALL, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_every_command_has_help(path, command, run):
    said = run(*path, "--help")
    assert said.code == 0
    assert said.out.startswith("Usage: accord " + " ".join(path))
    assert len(command.help.split()) >= 4


@pytest.mark.parametrize(("path", "command"), ALL, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_every_option_has_help(path, command):
    options = [p for p in command.params if isinstance(p, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_help_lists_every_command_and_completion(run):
    said = run("--help")
    assert all(f"  {name} " in said.out for name in COMMANDS)
    assert "_ACCORD_COMPLETE=bash_source" in said.out


def test_a_misspelt_command_is_named(run):
    said = run("chekc")
    assert said.code == 2
    assert "Did you mean 'check'?" in said.err


def test_version_as_a_module():
    done = subprocess.run([sys.executable, "-m", "accord", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("accord ")


def test_a_folder_that_is_not_there(run, tmp_path):
    said = run("check", "-p", tmp_path / "nowhere")
    assert said.code == 2
    assert "does not exist" in said.err


@pytest.mark.parametrize("command", [["check"], ["test"], ["status"], ["up"], ["messages"], ["dead", "list"]])
def test_a_folder_that_is_no_project(command, run, tmp_path):
    said = run(*command, "-p", tmp_path)
    assert said.code == 1
    assert "accord.yaml" in said.text
    assert "Traceback" not in said.text


def test_what_the_system_refuses_is_told_with_its_file(run, acme):
    (acme / ".accord" / "journal.db").mkdir()
    said = run("status", "-p", acme)
    assert said.code == 1
    assert "journal.db" in said.err


def test_a_package_that_is_missing_is_named(run, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'aiosmtpd'", name="aiosmtpd")

    monkeypatch.setattr("accord.cli.main.importlib.import_module", missing)
    said = run("sandbox", "status")
    assert said.code == 1
    assert "needs the package 'aiosmtpd'" in said.err
    assert "accord-integration[sandbox]" in said.err


@pytest.mark.parametrize(("number", "shown"), [(0, "0 faults"), (1, "1 fault"), (2, "2 faults")])
def test_counted(number, shown):
    assert counted(number, "fault") == shown
