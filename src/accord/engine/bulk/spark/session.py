"""The Spark session of this process: begun when a run first needs it, kept until the process ends (Spark allows one)."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

from accord.errors import AccordError
from accord.settings.spark import SparkSpec

_lock = threading.Lock()
# Every Python worker is one of many on its machine; logs and progress bars belong to whoever runs the cluster.
_CONF = {
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.log.level": "ERROR",
    "spark.executorEnv.POLARS_MAX_THREADS": "1",
}
_LOCAL = {"spark.driver.host": "127.0.0.1", "spark.driver.bindAddress": "127.0.0.1"}  # nobody else is to reach it


class SparkFault(AccordError):
    """Spark cannot be used here."""

    code = "engine.spark-missing"


class NoJava(SparkFault):
    code = "engine.spark-java"


def session_of(spec: SparkSpec) -> Any:
    """Blocks for some seconds the first time. Raises SparkFault."""
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise SparkFault("PySpark is not installed.", mend="pip install 'accord-integration[spark]'") from None
    if not has_java():
        what = "Spark needs Java 17 or later, and there is none: neither in JAVA_HOME nor on the PATH."
        raise NoJava(what, mend="Install it (Debian: default-jre-headless), or set JAVA_HOME.")
    conf = {**_CONF, **spec.conf}
    if spec.master.startswith("local"):
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        conf = {**_LOCAL, **conf}
    with _lock:
        builder = SparkSession.builder.master(spec.master).appName("accord")
        for key, value in conf.items():
            builder = builder.config(key, value)
        try:
            return builder.getOrCreate()
        except Exception as error:
            what = f"Spark does not start with master '{spec.master}': {_first_line(error)}"
            raise SparkFault(what, mend="Look at `spark:` of the environment.", code="engine.spark-start") from error


def has_java() -> bool:
    home = os.environ.get("JAVA_HOME", "")
    return bool(home and (Path(home) / "bin/java").exists()) or shutil.which("java") is not None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
