"""The public names: what is here is kept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import accord

NAMES = [
    *(
        "AccordError",
        "ConnectorError",
        "DeclarationError",
        "Done",
        "End",
        "Engine",
        "EngineSettings",
        "Entity",
        "Fault",
        "Field",
    ),
    *(
        "JournalError",
        "Message",
        "Partial",
        "Place",
        "Problem",
        "Project",
        "Reconnect",
        "RecordError",
        "Reject",
        "Rejected",
    ),
    *("Retry", "Secret", "SettingsError", "check_project", "engine_of", "function", "load_project"),
]


def test_the_names_are_these():
    assert sorted(accord.__all__) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_there(name):
    assert getattr(accord, name).__name__ == name


def test_type_checkers_see_the_same_names():
    stub = Path(accord.__file__).with_suffix(".pyi").read_text("utf-8")
    assert sorted(re.findall(r" as (\w+)", stub)) == sorted(NAMES)


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        accord.nonsense  # noqa: B018
    assert re.fullmatch(r"\d+\.\d+.*", accord.__version__)
