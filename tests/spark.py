"""Spark for tests: PySpark and Java, installed when that is possible; else the tests that need them are skipped, naming the package."""

from __future__ import annotations

import fcntl
import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers import _need

PROJECT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def spark() -> Iterator[str]:
    """The master to use: this machine with two cores. The session that the tests begin is stopped."""
    _need("java", "default-jre-headless", "usr/lib/jvm/*/bin/java")
    with (Path(tempfile.gettempdir()) / "accord-tests-pip.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be in the middle of installing it
        if importlib.util.find_spec("pyspark") is None:
            _install()
    from pyspark.sql import SparkSession

    yield "local[2]"
    session = SparkSession.getActiveSession()
    if session is not None:
        session.stop()


def _install() -> None:
    """About 500 MB, so only where Spark is tested, and only into an environment of its own."""
    if sys.prefix == sys.base_prefix:
        pytest.skip("needs the package pyspark (pip install 'accord-integration[spark]')")
    command = [sys.executable, "-m", "pip", "install", "-q", "-c", str(PROJECT / "constraints.txt"), "pyspark"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    importlib.invalidate_caches()
    if done.returncode:
        pytest.skip(f"needs the package pyspark, which pip could not install: {done.stderr.strip()[-300:]}")
