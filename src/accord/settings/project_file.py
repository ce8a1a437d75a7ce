"""``accord.yaml``: the project's name, environments, defaults and look-up tables."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from accord.errors import NOWHERE, Faults, Place, did_you_mean
from accord.settings.alert_spec import AlertSpec, ChannelSpec
from accord.settings.decode import Size, decode
from accord.settings.monitor import MonitorSpec
from accord.settings.node import Node
from accord.settings.overlay import blank_references, overlay
from accord.settings.secret import Secret
from accord.settings.spark import SparkSpec
from accord.settings.telemetry import TelemetrySpec

DEFAULT_ENVIRONMENT = "default"
_REPLACED_WHOLE = ("store",)  # a store of another kind has other keys
_PROJECT_NAME = r"^[A-Za-z][A-Za-z0-9_-]{0,62}$"
_SCHEMA_NAME = r"^[a-z][a-z0-9_]{0,62}$"
_STREAM_NAME = r"^[A-Za-z][A-Za-z0-9_-]{0,62}$"
_NATS_ADDRESS = r"^(nats|tls)://[^\s/@,]+$"
_NAME_HINT = {"x-hint": "letters, digits, _ and -, beginning with a letter, at most 63"}


class StoreSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Where the journal is kept."""

    kind: Annotated[
        Literal["sqlite", "postgresql", "jetstream", "memory"],
        Meta(
            description="sqlite: one file, survives everything the disk survives. postgresql: a schema of a database, survives what"
            " the database survives. jetstream: a log replicated over NATS servers, with its state in a file here; survives the loss"
            " of this machine and of any minority of the servers. memory: gone at the end, for trying out."
        ),
    ] = "sqlite"
    path: Annotated[
        str,
        Meta(
            min_length=1,
            description="Of kinds sqlite and jetstream: the file, relative to the project's folder. Keep it on a local disk, not a"
            " share.",
        ),
    ] = ".accord/journal.db"
    url: Annotated[
        Secret | None,
        Meta(description="Of kind postgresql: postgresql://user:password@host:5432/database, as ${secret:name}."),
    ] = None
    schema: Annotated[
        str,
        Meta(
            pattern=_SCHEMA_NAME,
            extra_json_schema={"x-hint": "small letters, digits and _, beginning with a letter, at most 63"},
            description="Of kind postgresql: the schema for the journal alone; made if missing. One engine has it at a time.",
        ),
    ] = "accord"
    servers: Annotated[
        list[Annotated[str, Meta(pattern=_NATS_ADDRESS)]],
        Meta(
            description="Of kind jetstream: nats:// or tls:// addresses of the cluster; one is enough to find the others."
        ),
    ] = []
    stream: Annotated[
        str,
        Meta(
            pattern=_STREAM_NAME,
            extra_json_schema=_NAME_HINT,
            description="Of kind jetstream: the stream that is the log; made if missing. One engine writes it, others stand by.",
        ),
    ] = "accord"
    replicas: Annotated[
        int,
        Meta(
            ge=1,
            le=5,
            description="Of kind jetstream: on how many servers each entry is kept. 3 outlive one server; 1 is for trying out.",
        ),
    ] = 3
    snapshot_entries: Annotated[
        int,
        Meta(
            ge=10,
            le=10_000_000,
            description="Of kind jetstream: after so many entries of the log a snapshot of the state is made and the log trimmed, if it has"
            " not grown by 64 MB before. Fewer make the start of an empty machine faster and copy the state more often.",
        ),
    ] = 200_000
    credentials: Annotated[
        Secret | None,
        Meta(description="Of kind jetstream: the text of a .creds file, user:password, or a token, as ${secret:name}."),
    ] = None
    place: Place = NOWHERE

    def __post_init__(self) -> None:
        if self.kind == "postgresql" and self.url is None:
            raise ValueError("a store of kind postgresql needs its `url`, like ${secret:journal_url}")
        if self.kind != "postgresql" and self.url is not None:
            raise ValueError(f"`url` belongs to a store of kind postgresql, this one is {self.kind}")
        if self.kind == "jetstream" and not self.servers:
            raise ValueError("a store of kind jetstream needs its `servers`, like [nats://10.0.0.1:4222]")
        if self.kind != "jetstream" and (self.servers or self.credentials is not None):
            raise ValueError(
                f"`servers` and `credentials` belong to a store of kind jetstream, this one is {self.kind}"
            )


class SecretSource(msgspec.Struct, frozen=True, kw_only=True):
    """A provider of secrets that needs to know where: one of ``files`` and ``file``."""

    files: Annotated[str, Meta(description="A folder with one file per secret, as container platforms mount them.")] = (
        ""
    )
    file: Annotated[str, Meta(description="The encrypted file in git, relative to the project's folder.")] = ""
    key_file: Annotated[
        str, Meta(description="Where its key is when ACCORD_KEY is not set. Default: ~/.config/accord/<project>.key")
    ] = ""
    place: Place = NOWHERE

    def __post_init__(self) -> None:
        if bool(self.files) == bool(self.file):
            raise ValueError("a provider of secrets is either {files: folder} or {file: secrets.accord}")
        if self.key_file and not self.file:
            raise ValueError("`key_file` belongs to an encrypted `file`")


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long settled messages are kept. Open messages and dead letters are never removed by it."""

    age: Annotated[
        dt.timedelta, Meta(description="Settled messages older than this are removed. 30 days cover a month's closing.")
    ] = dt.timedelta(days=30)
    size_max: Annotated[
        Size,
        Meta(
            description="When the journal is larger (bytes), the oldest settled messages go first. 5GB fit any laptop."
        ),
    ] = 5_000_000_000

    def __post_init__(self) -> None:
        if self.age < dt.timedelta(minutes=1):
            raise ValueError(
                "`age` must be at least 1m: a sender may repeat a message, and what is removed is not recognised"
            )


class IntakeBounds(msgspec.Struct, frozen=True, kw_only=True):
    """What is taken from the network, so that no sender can exhaust memory."""

    body_size_max: Annotated[
        Size, Meta(description="A larger request gets 413 (bytes). The largest orders seen are under 1MB.")
    ] = 5_000_000
    requests_max: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="Requests being read or committed at once; more get 503. 2000 × 5MB bounds memory.",
        ),
    ] = 2_000
    rate_per_s: Annotated[
        float | None,
        Meta(gt=0, description="Requests a second per system; more get 429. None: as fast as the disk commits."),
    ] = None
    requests_per_system_max: Annotated[
        int | None,
        Meta(
            ge=1,
            description="Of them, those of one system; more get 429. None: three quarters of `requests_max` where several systems"
            " send webhooks, so that a flood of one pushes out no other.",
        ),
    ] = None
    backlog_max: Annotated[
        int,
        Meta(
            ge=1,
            description="Open messages of the flows that one system's webhooks start; at more, it gets 429 with Retry-After. 5 million"
            " are about 20GB: a sender that is refused for long gives up, so this only keeps one source from filling the disk.",
        ),
    ] = 5_000_000


class SourceBounds(msgspec.Struct, frozen=True, kw_only=True):
    """What differs for one system's webhooks from ``intake`` of the environment."""

    rate_per_s: Annotated[float | None, Meta(gt=0, description="Requests a second; more get 429.")] = None
    backlog_max: Annotated[
        int | None, Meta(ge=1, description="Open messages of the flows its webhooks start; at more, it gets 429.")
    ] = None
    place: Place = NOWHERE


class RateLimitSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How hard a system may be used: at most ``requests`` in ``per``, ``concurrent`` at once."""

    requests: Annotated[int | None, Meta(ge=1, description="Requests in each `per`. None: no bound by rate.")] = None
    per: Annotated[dt.timedelta, Meta(description="The length of time `requests` counts for.")] = dt.timedelta(
        seconds=1
    )
    concurrent: Annotated[
        int | None, Meta(ge=1, le=10_000, description="Requests under way at once. None: as the connector says.")
    ] = None
    adaptive: Annotated[
        bool | None,
        Meta(
            description="true: as many at once, up to `concurrent`, as the system takes without queueing; false: always"
            " `concurrent`. None: as the connector says."
        ),
    ] = None
    place: Place = NOWHERE

    def __post_init__(self) -> None:
        if self.per <= dt.timedelta(0):
            raise ValueError("`per` must be more than nothing, like 1s or 1m")


class SystemOverlay(msgspec.Struct, frozen=True, kw_only=True):
    """What an environment changes of a system file."""

    connector: Annotated[
        str,
        Meta(
            description="Another connector: the system is of another kind here (a file of DuckDB, a PostgreSQL server). `settings` are"
            " then all it has; entities stay."
        ),
    ] = ""
    settings: Annotated[Node, Meta(description="Laid over the system's own settings, key by key.")] = msgspec.field(
        default_factory=lambda: Node({})
    )
    rate_limit: RateLimitSpec | None = None
    place: Place = NOWHERE


class MembersSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How several Accords on one journal in PostgreSQL find each other."""

    address: Annotated[
        str,
        Meta(
            min_length=1,
            description="host:port where the others reach this one, on a private network; different for each, like"
            " ${env:ACCORD_MEMBER}. What they say to each other is not encrypted.",
        ),
    ]
    secret: Annotated[Secret, Meta(description="The same for all: who does not know it is not heard.")]
    name: Annotated[
        str, Meta(description="In `accord status`; a member started anew keeps it. Default: host name and address.")
    ] = ""
    linger: Annotated[
        dt.timedelta,
        Meta(
            description="How long a member that stops still takes webhooks after /readyz has begun to say no. More than a load"
            " balancer takes to notice, less than half of `drain`."
        ),
    ] = dt.timedelta(seconds=3)
    place: Place = NOWHERE

    def __post_init__(self) -> None:
        host, _, port = self.address.rpartition(":")
        if not host or not port.isascii() or not port.isdigit():
            raise ValueError(f"`address` '{self.address[:60]}' is not like 10.0.0.5:8401")


class EnvironmentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Where the project runs. Every environment is laid over ``default``."""

    address: Annotated[
        str, Meta(description="host:port Accord listens on. 127.0.0.1 takes connections of this machine only.")
    ] = "127.0.0.1:8400"
    public_address: Annotated[
        str,
        Meta(description="The https address under which other systems reach Accord; registered for their webhooks."),
    ] = ""
    store: StoreSpec = StoreSpec()
    members: Annotated[
        MembersSpec | None,
        Meta(description="For several Accords on one journal (of kind postgresql). None: this one is alone on it."),
    ] = None
    secrets: Annotated[
        list[Literal["environment", "keyring"] | SecretSource],
        Meta(description="Providers of secrets; the first that has a secret wins."),
    ] = msgspec.field(default_factory=lambda: ["environment", SecretSource(file="secrets.accord")])
    retention: Retention = Retention()
    intake: IntakeBounds = IntakeBounds()
    drain: Annotated[
        dt.timedelta,
        Meta(
            description="How long a stop waits for work under way. 25s is less than the 30s after which platforms kill."
        ),
    ] = dt.timedelta(seconds=25)
    api_token: Annotated[
        Secret | None, Meta(description="Who acts on this Accord over its API must show this token.")
    ] = None
    monitor: MonitorSpec = MonitorSpec()
    metrics: Annotated[
        Literal["guarded", "open", "off"],
        Meta(
            description="Who may read /metrics. guarded: whoever is on this machine while the address is of this machine only, else who"
            " shows the API token. open: everybody who reaches the address. off: nobody."
        ),
    ] = "guarded"
    spark: SparkSpec = SparkSpec()
    telemetry: Annotated[TelemetrySpec | None, Meta(description="Where traces are sent. None: nowhere.")] = None
    channels: Annotated[
        dict[str, ChannelSpec], Meta(description="Where notices of alerts go, by the name that alerts use.")
    ] = {}
    systems: Annotated[
        dict[str, SystemOverlay], Meta(description="What differs in a system here, by system name.")
    ] = {}
    place: Place = NOWHERE

    def __post_init__(self) -> None:
        host, colon, port = self.address.rpartition(":")
        if not host or not colon or not port.isascii() or not port.isdigit() or int(port) > 65_535:
            raise ValueError(f"`address` must be host:port, like 127.0.0.1:8400, this is '{self.address[:60]}'")
        if self.members is not None and self.store.kind != "postgresql":
            raise ValueError(f"`members` need a store of kind postgresql, this one is {self.store.kind}")
        if self.public_address and not self.public_address.startswith(("https://", "http://")):
            raise ValueError(f"`public_address` must begin with https://, this is '{self.public_address[:60]}'")

    @property
    def host(self) -> str:
        """Without the brackets of an IPv6 address."""
        return self.address.rpartition(":")[0].removeprefix("[").removesuffix("]")

    @property
    def port(self) -> int:
        """0 lets the machine choose a free one."""
        return int(self.address.rpartition(":")[2])


class Defaults(msgspec.Struct, frozen=True, kw_only=True):
    """What flows use unless they say otherwise."""

    on_error: Annotated[
        Node | None,
        Meta(description="The error policy: {attempts: 8, first: 1s, factor: 2, longest: 10m, then: dead-letter}."),
    ] = None


class ProjectFile(msgspec.Struct, frozen=True, kw_only=True):
    """``accord.yaml`` as it is written; environments are nodes until one is chosen."""

    name: Annotated[
        str,
        Meta(
            pattern=_PROJECT_NAME,
            extra_json_schema=_NAME_HINT,
            description="The project, in pages, logs and key names.",
        ),
    ]
    summary: str = ""
    zone: Annotated[
        str, Meta(description="IANA time zone for schedules and for times that carry none, like Europe/Berlin.")
    ] = "UTC"
    environments: Annotated[
        dict[str, Node], Meta(description="`default`, and others that say what differs from it.")
    ] = {}
    defaults: Defaults = Defaults()
    alerts: Annotated[list[AlertSpec], Meta(description="Conditions that somebody wants to hear of.")] = []
    lookups: Annotated[
        Node, Meta(description="Look-up tables: {key: value}, or {csv: file, key: column, value: column}.")
    ] = msgspec.field(default_factory=lambda: Node({}))
    place: Place = NOWHERE

    def __post_init__(self) -> None:
        try:
            zoneinfo.ZoneInfo(self.zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            mend = did_you_mean(self.zone, zoneinfo.available_timezones())
            nearest = f". {mend.rstrip('?')}?" if mend.startswith("Did") else ""
            raise ValueError(f"`zone` '{self.zone[:60]}' is no IANA time zone{nearest}") from None


def read_project_file(node: Node | None, faults: Faults) -> ProjectFile | None:
    """The file with every environment checked, also those not chosen (their references stay unread)."""
    file = decode(node, ProjectFile, faults, what="accord.yaml")
    if node is None:
        return None
    for name, environment in (node.get("environments") or Node({})).items():
        decode(blank_references(environment), EnvironmentSpec, faults, what=f"environment '{name}'")
    return file


def environment_node(file: ProjectFile, name: str, faults: Faults) -> Node | None:
    """The chosen environment laid over ``default``, references unresolved. '' chooses ``default``, which need not be declared."""
    base = file.environments.get(DEFAULT_ENVIRONMENT, Node({}, file.place))
    if name in ("", DEFAULT_ENVIRONMENT):
        return base
    if name not in file.environments:
        known = {DEFAULT_ENVIRONMENT, *file.environments}
        what = f"There is no environment '{name}'."
        faults.add("settings.unknown-environment", file.place, what, did_you_mean(name, known))
        return None
    return overlay(base, file.environments[name], whole=_REPLACED_WHOLE)
