"""What of bulk flows runs row by row: said by the check, since it costs time and nothing else."""

from __future__ import annotations

from collections.abc import Mapping as Dict

from accord.errors import Faults
from accord.flow.bulk.compile import BulkFlow
from accord.mapping import Mapping
from accord.mapping.spec import MappingSpec


def warn_row_only(
    bulk_flows: Dict[str, BulkFlow], mappings: Dict[str, Mapping], specs: Dict[str, MappingSpec], faults: Faults
) -> None:
    """A warning for every part of a bulk flow's mappings that has no column form. Raises AccordError without Polars."""
    if not bulk_flows:
        return
    from accord.mapping.columns import compile_mapping_columns

    used = {name: flow for flow in bulk_flows.values() for name in flow.flow.mappings if name in mappings}
    for name, flow in used.items():
        columns = compile_mapping_columns(mappings[name])
        scope = "all of it runs" if columns.is_row_only else "this part runs"
        for part, why in columns.row_only.items():
            what = f"The bulk flow '{flow.name}' uses the mapping '{name}', and {scope} row by row: '{part}' has {why}."
            mend = "It is slower, not different. A function of your own can be given a column form: @function(…, columns=…)."
            faults.add("mapping.row-only", specs[name].place, what, mend, severity="warning")
