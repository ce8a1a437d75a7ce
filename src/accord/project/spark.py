"""What flows with ``engine: spark`` need, and what they cannot do."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping as Dict

from accord.errors import Faults
from accord.flow.bulk.compile import BulkFlow
from accord.flow.parts import DeclaredSystem
from accord.mapping.mapping import Mapping

_REF = re.compile(r"\bref\(")


def check_spark(
    bulk_flows: Dict[str, BulkFlow], mappings: Dict[str, Mapping], systems: Dict[str, DeclaredSystem], faults: Faults
) -> None:
    for flow in bulk_flows.values():
        if flow.spec.engine == "spark":
            _check(flow, mappings, systems, faults)


def _check(flow: BulkFlow, mappings: Dict[str, Mapping], systems: Dict[str, DeclaredSystem], faults: Faults) -> None:
    node, polars = flow.spec.row.node, "Or use engine: polars."
    place = node.place_of("engine")
    if importlib.util.find_spec("pyspark") is None:
        faults.add("flow.spark-missing", place, "PySpark is not installed.", "pip install 'accord-integration[spark]'")
    source = systems[flow.source.system]
    if not source.capabilities(flow.source).bulk_spread:
        what = f"'{flow.source.name}' (connector '{source.connector}') cannot be read in parts by a Spark cluster."
        faults.add("flow.spark-source", place, what, f"Read files, or a PostgreSQL table with a key. {polars}")
    if flow.spec.read.cursor:
        what = "A flow on Spark reads everything, and this one reads changes only ('cursor')."
        faults.add("flow.spark-cursor", flow.spec.read_node.place_of("cursor"), what, f"Remove 'cursor'. {polars}")
    used = [mappings[name].spec.fields for name in flow.flow.mappings if name in mappings]
    if _REF.search(repr([flow.spec.row.steps.plain(), used])):
        what = "ref() asks the journal, which a Spark cluster does not have."
        faults.add("flow.spark-ref", place, what, f"Join the keys in the source. {polars}")
