"""What this package needs beyond the core; imported before anything else of it."""

from __future__ import annotations

from accord.errors import AccordError

try:
    import polars
except ModuleNotFoundError as error:
    raise AccordError(
        "Records in columns need Polars, which is not installed.",
        mend="Install it: pip install 'accord-integration[bulk]'.",
        code="mapping.no-columns",
    ) from error

POLARS_VERSION = polars.__version__
