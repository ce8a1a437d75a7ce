"""The layout of the journal in a PostgreSQL schema, and the way from an older layout to this one.

Table ``version`` has one row per migration applied, each in one transaction. A schema of a newer version is refused.
Columns hold times and values as ``accord.journal.encoding`` writes them. Texts are compared by code point (collation "C").

``part`` is the hash of flow and key modulo ``PARTS``: what several nodes on one database will divide among themselves.
"""

from __future__ import annotations

from accord.journal.shared import PARTS as PARTS
from accord.journal.shared import part_of as part_of

Migration = tuple[str, ...]

_FIRST: Migration = (
    # One row today, for all parts; `token` fences: a commit by an owner with another token changes nothing.
    """CREATE TABLE owners (
        name text PRIMARY KEY,
        token bigint NOT NULL,
        commits bigint NOT NULL,
        pid integer NOT NULL,
        node text NOT NULL,
        last_seq bigint NOT NULL
    )""",
    # Small rows only: a settle writes this row anew, so the bodies live elsewhere.
    """CREATE TABLE messages (
        seq bigint PRIMARY KEY,
        part smallint NOT NULL,
        id text COLLATE "C" NOT NULL UNIQUE,
        flow text COLLATE "C" NOT NULL,
        key text COLLATE "C" NOT NULL,
        state smallint NOT NULL,
        is_head boolean NOT NULL,
        accepted_at bigint NOT NULL,
        attempts integer NOT NULL DEFAULT 0,
        parts integer NOT NULL DEFAULT 0,
        due bigint,
        held_by text COLLATE "C" NOT NULL DEFAULT '',
        reason text NOT NULL DEFAULT '',
        in_doubt bytea,
        settled_at bigint,
        replayed_in bigint
    )""",
    "CREATE INDEX messages_open ON messages (flow, key, seq) WHERE state < 10",
    "CREATE INDEX messages_eligible ON messages (flow, seq) WHERE state = 0 AND is_head",
    "CREATE INDEX messages_due ON messages (due, seq) WHERE state = 1",
    "CREATE INDEX messages_held ON messages (held_by, seq) WHERE state = 2",
    "CREATE INDEX messages_done ON messages (accepted_at, seq) WHERE state = 10",
    "CREATE TABLE contents (seq bigint PRIMARY KEY, message bytea NOT NULL)",
    "CREATE TABLE results (seq bigint NOT NULL, part integer NOT NULL, value bytea NOT NULL, PRIMARY KEY (seq, part))",
    'CREATE TABLE dead (seq bigint PRIMARY KEY, flow text COLLATE "C" NOT NULL, at bigint NOT NULL, letter bytea NOT NULL)',
    "CREATE INDEX dead_flow ON dead (flow, seq)",
    """CREATE TABLE marks (digest bytea PRIMARY KEY, seq bigint NOT NULL, at bigint NOT NULL,
        version text COLLATE "C" NOT NULL DEFAULT '')""",
    "CREATE INDEX marks_at ON marks (at)",
    """CREATE TABLE cross_references (entity text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL,
        other text COLLATE "C" NOT NULL, other_key text COLLATE "C" NOT NULL, PRIMARY KEY (entity, key, other))""",
    'CREATE TABLE cursors (name text COLLATE "C" PRIMARY KEY, position bytea NOT NULL)',
    """CREATE TABLE counters (flow text COLLATE "C" NOT NULL, state smallint NOT NULL, held_by text COLLATE "C" NOT NULL,
        n bigint NOT NULL, PRIMARY KEY (flow, state, held_by)) WITH (fillfactor = 50)""",
    # Every settle leaves a dead row and dead index entries: take them away early and often.
    "ALTER TABLE messages SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1)",
)

MIGRATIONS: tuple[Migration, ...] = (_FIRST,)

VERSION_TABLE = "CREATE TABLE IF NOT EXISTS version (version integer PRIMARY KEY, applied_at bigint NOT NULL)"
