"""Where bulk flows with ``engine: spark`` run."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from accord.errors import NOWHERE, Place


class SparkSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The Spark cluster. Needs accord-integration[spark] and Java; its machines have this Accord and see its folders."""

    master: Annotated[
        str,
        Meta(
            min_length=1,
            description="The cluster, like spark://10.0.0.7:7077, yarn or k8s://…; local[4] is this machine with 4 cores, local[*] with"
            " all.",
        ),
    ] = "local[*]"
    conf: Annotated[
        dict[str, str],
        Meta(description="Spark's own settings, like {spark.driver.memory: 4g}; they win over what Accord sets."),
    ] = {}
    folder: Annotated[
        str,
        Meta(
            description="Where chunks pass from the cluster to this engine, relative to the project; a share when the cluster is other"
            " machines. '': beside the journal."
        ),
    ] = ""
    place: Place = NOWHERE
