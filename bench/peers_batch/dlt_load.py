"""dlt: ``python dlt_load.py rows|arrow|parquet SOURCE TARGET FOLDER``.

``rows``: CSV by Python records, mapped in a function as in `batch/projects.py`; rows whose values do not convert are counted and left
out, since dlt keeps no rejects. ``arrow``: CSV as Arrow tables of texts, neither mapped nor checked, loaded as Parquet by ADBC.
``parquet``: a table read by ConnectorX to Parquet files, neither mapped nor checked.
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import dlt

REGIONS = {"DE": "home", "FR": "near", "IT": "near", "GB": "near", "SE": "near", "US": "far", "JP": "far"}
STATUSES = {"open", "paid", "shipped", "cancelled"}


def mapped(row: dict[str, str]) -> dict[str, Any]:
    """Raises ValueError or ArithmeticError for a row that does not convert."""
    total, quantity = Decimal(row["total"]), int(row["quantity"])
    if row["status"] not in STATUSES or not row["customer"]:
        raise ValueError("not in the contract")
    return {
        "id": int(row["id"]),
        "reference": "S-" + row["number"],
        "customer": row["customer"].strip(),
        "email": row["email"].lower(),
        "is_open": row["status"] == "open",
        "quantity": quantity,
        "net": total - Decimal(row["discount"] or 0),
        "gross": total * quantity,
        "due": dt.date.fromisoformat(row["ordered_on"]) + dt.timedelta(days=14),
        "updated_at": dt.datetime.fromisoformat(row["updated_at"]),
        "region": REGIONS.get(row["country"], "other"),
        "note": row["note"],
    }


def rows(path: str) -> Iterator[dict[str, Any]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                yield mapped(row)
            except (ValueError, ArithmeticError):
                continue


def batches(path: str) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.csv as pacsv

    with Path(path).open(encoding="utf-8") as file:
        names = file.readline().strip().split(",")
    texts = pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
    for batch in pacsv.open_csv(path, pacsv.ReadOptions(block_size=16_000_000), convert_options=texts):
        yield pa.Table.from_batches([batch])


def main() -> None:
    what, source, target, folder = sys.argv[1:]
    began = time.perf_counter()
    if what == "parquet":
        from dlt.sources.sql_database import sql_table

        resource = sql_table(
            source.replace("postgresql:", "postgresql+psycopg2:"),
            table="orders",
            backend="connectorx",
            backend_kwargs={"conn": source, "return_type": "arrow"},
        )
        destination: Any = dlt.destinations.filesystem(bucket_url=Path(target).as_uri())
    else:
        resource = dlt.resource(rows(source) if what == "rows" else batches(source), name="entries")
        destination = dlt.destinations.postgres(
            target.replace("@", ":none@")
        )  # it asks for a password, the server does not
    pipeline = dlt.pipeline("load", pipelines_dir=folder, destination=destination, dataset_name="peer")
    load_as = {"rows": None, "arrow": "parquet", "parquet": "parquet"}[what]
    made = pipeline.run(resource, table_name="entries", write_disposition="append", loader_file_format=load_as)
    made.raise_on_failed_jobs()
    print(json.dumps({"seconds": time.perf_counter() - began}))


if __name__ == "__main__":
    main()
