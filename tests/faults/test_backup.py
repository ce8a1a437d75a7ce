"""`accord journal backup` while the engine is under load, and `accord journal restore`; searches while it runs."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from accord.journal.search import MessageQuery
from accord.journal.stores.sqlite import SqliteStore
from accord.journal.stores.sqlite_verify import verify
from faults.test_disk import FILES, TABLE, Sender
from journeys.live import Live

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("load"), pytest.mark.timeout(120)]


def test_a_backup_under_load_holds_all_that_was_accepted_and_comes_back(tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    with Live(tmp_path / "project", FILES, databases={"books.db": TABLE}) as live:
        sender, stop = Sender(live), threading.Event()

        def send() -> None:
            while not stop.is_set():
                assert sender.send() == 200

        sending = threading.Thread(target=send)
        sending.start()
        try:
            live.wait(lambda: len(sender.accepted) >= 100, "the load is on")
            before = list(sender.accepted)
            said = live.run("journal", "backup", str(copy))
            during = len(sender.accepted) - len(before)
            assert said.returncode == 0, said.stderr
            assert "verified" in said.stdout
            again = live.run("journal", "backup", str(copy))
            assert again.returncode == 1
            assert "journal.exists" in again.stderr
            refused = live.run("journal", "restore", str(copy), "--force")
            assert refused.returncode == 1
            assert "journal.locked" in refused.stderr
        finally:
            stop.set()
            sending.join()
        assert during > 0, "nothing was accepted while the copy was made"
        assert verify(copy) == []
        live.wait_settled()
        assert live.stop() == 0
        refused = live.run("journal", "restore", str(copy))
        assert "journal.exists" in refused.stderr
        assert live.run("journal", "restore", str(copy), "--force").returncode == 0
        store = SqliteStore(live.folder / ".accord" / "journal.db")
        store.open()
        held = {json.loads(row.message.body)["id"] for row in store.messages(MessageQuery(limit=10_000))}
        store.close()
        assert held >= set(before)
        live.start()
        live.wait_settled()
        ids = [n for (n,) in live.rows("books.db", "SELECT id FROM log ORDER BY id")]
        assert ids == sender.accepted, "what the backup held as open is done once more or was not done"
