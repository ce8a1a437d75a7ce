"""What a system file says about a folder of files: settings and entity settings."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

import msgspec

from accord.settings.decode import Size

PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip")
Packing = Literal["gz", "zst"]
Format = Literal["csv", "json", "jsonl", "xml", "fixed", "excel", "parquet"]
FORMATS_BY_SUFFIX: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".xml": "xml",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".xls": "excel",
    ".ods": "excel",
    ".parquet": "parquet",
}


class FilesSettings(msgspec.Struct, frozen=True, kw_only=True):
    """``folder`` is relative to the project. ``processed`` and ``rejected`` are folders inside it that finished files go to."""

    folder: str
    processed: Annotated[str, msgspec.Meta(min_length=1)] = "processed"
    rejected: Annotated[str, msgspec.Meta(min_length=1)] = "rejected"
    stable: dt.timedelta = dt.timedelta(seconds=2)  # a file has arrived when size and time stay the same for so long
    encoding: str = "utf-8"
    zone: str = "UTC"  # what times without a zone mean in these files
    record_size_max: Size = 1_000_000  # one row or record; a longer one is malformed
    files_max: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 10_000  # files of one entity looked at in one read

    def __post_init__(self) -> None:
        if self.processed == self.rejected:
            raise ValueError("`processed` and `rejected` must be different folders")


class FixedColumn(msgspec.Struct, frozen=True, kw_only=True):
    """Characters ``start`` (the first is 1) to ``start + width - 1``. ``align`` is for writing."""

    start: Annotated[int, msgspec.Meta(ge=1)]
    width: Annotated[int, msgspec.Meta(ge=1)]
    align: Literal["left", "right"] = "left"


class FilesEntity(msgspec.Struct, frozen=True, kw_only=True):
    """Further keys of an entity.

    ``pattern``: which files are read (``orders/*.csv``). ``name``: what written files are called, with ``{effect_id}`` or fields
    in braces (``{number}.json``). ``append``: the file that written records are added to. ``dataset``: the folder that bulk
    loads fill with files (Parquet, CSV or JSON Lines), in folders ``field=value`` by the fields of ``partition``; files that are read
    have these fields from their folders too. ``headers``: the column, element or JSON key of a field where it is called differently.
    ``record``: the path to the records in XML (``orders/order``) or in a JSON document (``data.orders``).
    """

    pattern: str = ""
    name: str = ""
    append: str = ""
    dataset: str = ""
    partition: tuple[str, ...] = ()
    packed: Packing | None = None  # CSV and JSON Lines of a data set
    format: Format | None = None
    encoding: str = ""
    delimiter: Annotated[str, msgspec.Meta(min_length=1, max_length=1)] = ","
    quote: Annotated[str, msgspec.Meta(max_length=1)] = '"'
    header: bool = True  # CSV and Excel: the first row names the columns
    headers: dict[str, str] = {}
    columns: dict[str, FixedColumn] = {}
    sheet: str = ""  # Excel: by default the first
    record: str = ""
    decimal_comma: bool = False
    dates: list[str] = []  # strptime formats; ISO 8601 is always understood
    datetimes: list[str] = []
    nulls: list[str] = []  # texts that mean nothing, besides the empty one
    true: tuple[str, ...] = ("true", "yes", "y", "1")
    false: tuple[str, ...] = ("false", "no", "n", "0")
    trim: bool = True  # spaces around values
    keep: bool = False  # files stay where they are after reading (a share we may not change)
    page_rows: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 500

    def __post_init__(self) -> None:
        if sum(map(bool, (self.name, self.append, self.dataset))) > 1:
            raise ValueError("`name`, `append` and `dataset` exclude each other")
        if self.packed and (not self.dataset or self.format not in ("csv", "jsonl")):
            raise ValueError(
                "`packed` is for a `dataset` of the format csv or jsonl (Parquet packs its columns itself)"
            )
        if self.dataset and self.format not in (None, "parquet", "csv", "jsonl"):
            raise ValueError("a `dataset` has the format parquet, csv or jsonl")

    def format_of(self, file_name: str = "") -> Format:
        """The declared format, else by the suffix of the file or pattern; csv when that says nothing."""
        if self.format:
            return self.format
        for text in (file_name, self.pattern, self.name, self.append):
            plain = text.lower()
            for packed in PACKED_SUFFIXES:
                plain = plain.removesuffix(packed)
            suffix = "." + plain.rpartition(".")[2]
            if suffix in FORMATS_BY_SUFFIX:
                return FORMATS_BY_SUFFIX[suffix]
        return "csv"
