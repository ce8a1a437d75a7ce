"""Files far larger than the memory allowed are read to their end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MEMORY_MAX_MB = 150
SCRIPT = """
import asyncio, sys
from pathlib import Path
from tests.connectors.files.share import Share, pages_of

async def main() -> None:
    files = Share(Path(sys.argv[1]))
    form = sys.argv[2]
    more = {"record": "orders/order"} if form == "xml" else {}
    entity = files.entity(pattern=f"*.{form}", fields={"id": "integer", "name": "string"}, **more)
    count = last = 0
    middle = None
    async with files.open() as connection:
        async for page in connection.read(entity, None):
            assert not page.malformed, page.malformed
            count += len(page.records)
            last = page.records[-1]["id"] if page.records else last
            if middle is None and count > 1000:
                middle = (page.position, last)
        async for page in connection.read(entity, middle[0]):  # resumed: the next record, without reading what was before
            assert page.records[0]["id"] == middle[1] + 1
            break
    # VmHWM is this program's own; ru_maxrss would be that of the process it was forked from
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(count, last, int(status["VmHWM"].split()[0]) // 1024)

asyncio.run(main())
"""
EDGES = {
    "csv": ("id,name\n", "{i},{text}\n", ""),
    "jsonl": ("", '{{"id":{i},"name":"{text}"}}\n', ""),
    "json": ("[", '{{"id":{i},"name":"{text}"}},\n', '{{"id":{i},"name":"end"}}]'),
    "xml": ("<orders>", "<order><id>{i}</id><name>{text}</name></order>\n", "</orders>"),
}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads its peak memory from Linux's /proc")
@pytest.mark.parametrize(("form", "size_mb"), [("csv", 300), ("jsonl", 300), ("json", 300), ("xml", 300)])
def test_a_large_file_is_read_in_bounded_memory(tmp_path: Path, form: str, size_mb: int) -> None:
    (tmp_path / "share").mkdir()
    head, row, tail = EDGES[form]
    text, count, written = "x" * 900, 0, 0
    with (tmp_path / "share" / f"o.{form}").open("w") as out:
        out.write(head)
        while written < size_mb * 1_000_000:
            chunk = "".join(row.format(i=count + i, text=text) for i in range(2000))
            count += 2000
            written += out.write(chunk)
        if tail:
            out.write(tail.format(i=count))
            count += form == "json"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), form],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    read, last, peak_mb = map(int, done.stdout.split())
    assert (read, last) == (count, count - 1)
    assert peak_mb < MEMORY_MAX_MB, f"{peak_mb} MB for a file of {size_mb} MB"
