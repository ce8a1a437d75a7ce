"""All benches of the repository, one after another. usage: run.py [--quick]"""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
QUICK = "--quick" in sys.argv


def main() -> None:
    system = f"{platform.system()} {platform.release()}"
    print(f"machine: {platform.machine()}, {cpu()}, {cores()} cores, Python {platform.python_version()}, {system}")
    run("mapping", "bench_mapping.py")
    run("journal", "bench_journal.py")
    run(
        "end to end",
        "bench_realtime.py",
        "--only",
        "limit,accord,accord-workers",
        "--runs",
        "1" if QUICK else "3",
        "--seconds",
        "3" if QUICK else "8",
        "--shares",
    )
    size()


def run(title: str, script: str, *arguments: str) -> None:
    print(f"\n== {title} (python bench/{' '.join((script, *arguments))})", flush=True)
    subprocess.run([sys.executable, HERE / script, *arguments], check=True)


def size() -> None:
    """The wheels a fresh install of the core takes, largest first."""
    print("\n== size of the core's wheels", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "-q", "-c", "constraints.txt", "-w", folder, "."]
        subprocess.run(command, cwd=HERE.parent, check=True, stderr=subprocess.DEVNULL)
        wheels = sorted(((path.stat().st_size / 1e6, path.name) for path in Path(folder).iterdir()), reverse=True)
    for megabytes, name in wheels[:8]:
        print(f"{megabytes:8.1f} MB  {name.partition('-')[0]}")
    print(f"{sum(megabytes for megabytes, _ in wheels):8.1f} MB  in all, {len(wheels)} wheels")


def cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


def cores() -> int:
    import os

    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    main()
