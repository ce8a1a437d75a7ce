"""What is sent to a Spark cluster is sealed: no password stands in it, and only workers with the engine's key open it."""

from __future__ import annotations

import datetime as dt
import pickle
from pathlib import Path

import pytest

from accord.connectors.sql.bulk_parts import TablePart
from accord.connectors.sql.spec import SqlSettings
from accord.engine.bulk.spark.envelope import KEY_VARIABLE, NoKey, key_here, opened, prepare_key, sealed
from accord.engine.bulk.spark.job import Job, Task, work
from accord.record import Entity, Field, Reject
from accord.record import types as t
from accord.sdk.bulk import BulkRead
from accord.settings.secrets.keys import Key

PASSWORD = "correct-horse-battery"
ENTITY = Entity(name="shop.orders", fields={"id": Field(type=t.Integer())}, key=("id",))
PART = TablePart(ENTITY, SqlSettings(url=f"postgresql+psycopg://shop:{PASSWORD}@db.example/shop"), BulkRead())
JOB = Job(
    files={"accord.yaml": b"name: nightly\n"},
    environment="default",
    variables={"SHOP_TOKEN": PASSWORD},
    flow="nightly",
    run="r",
    time=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    nulls=frozenset(),
    folder=Path("chunks"),
)


def test_no_password_stands_in_what_is_sent() -> None:
    key = Key.generate()
    for kind, content in (("job", JOB), ("task", Task(PART, True))):
        envelope = sealed(key, kind, content)
        assert PASSWORD.encode() in pickle.dumps(content)  # what would be sent without one
        assert PASSWORD.encode() not in envelope and b"db.example" not in envelope
        assert opened(key, kind, envelope) == content


def test_an_envelope_that_was_changed_or_holds_something_else_is_not_opened() -> None:
    key = Key.generate()
    envelope = sealed(key, "task", Task(PART, True))
    for changed in (envelope[:-1] + bytes([envelope[-1] ^ 1]), b"\0" * len(envelope), envelope[:20], b""):
        with pytest.raises(NoKey):
            opened(key, "task", changed)
    with pytest.raises(NoKey):
        opened(key, "job", envelope)


@pytest.mark.parametrize(("here", "what"), [("", "is not set"), ("short", "holds no key"), (None, "is not that")])
def test_a_worker_without_the_engines_key_refuses(monkeypatch: pytest.MonkeyPatch, here: str | None, what: str) -> None:
    monkeypatch.setenv(KEY_VARIABLE, Key.generate().reveal() if here is None else here)
    key = Key.generate()
    found = work(sealed(key, "job", JOB), sealed(key, "task", Task(PART, True)))
    assert isinstance(found.failed, Reject) and found.failed.code == "engine.spark-key" and found.chunks == ()
    assert what in found.failed.reason and key.reveal() not in found.failed.reason


def test_this_machine_makes_its_key_and_a_cluster_must_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "")
    monkeypatch.delenv(KEY_VARIABLE)
    with pytest.raises(NoKey, match="is not set for this engine") as caught:
        prepare_key("spark://10.0.0.7:7077")
    assert "token_urlsafe(32)" in caught.value.mend
    made = prepare_key("local[2]")
    assert prepare_key("local[4]").id == made.id == key_here("a worker").id  # Java that was started before has it
    assert prepare_key("spark://10.0.0.7:7077").id == made.id
