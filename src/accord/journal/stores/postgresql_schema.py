"""The layout of the journal in a PostgreSQL schema, and the way from an older layout to this one.

Table ``version`` has one row per migration applied, each in one transaction. ``compatible_from`` is the oldest layout whose code may
work on the schema after it: such a migration only adds, and is applied while engines of that layout run; any other waits until no
engine runs. Code of an older layout refuses the schema (decision 0113).
Columns hold times and values as ``accord.journal.encoding`` writes them. Texts are compared by code point (collation "C").

``part`` is the hash of flow and key modulo ``PARTS``: what several nodes on one database divide among themselves.
"""

from __future__ import annotations

import msgspec


class Migration(msgspec.Struct, frozen=True):
    statements: tuple[str, ...]
    compatible_from: int


_FIRST = (
    # The one owner of layout 1; since layout 2 a sign for engines of layout 1 that they have lost the journal.
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

_MEMBERS = (
    # Every commit of a member counts up `commits` in its row: who finds no row there has lost its parts.
    """CREATE TABLE members (id bigint PRIMARY KEY, name text NOT NULL, address text NOT NULL,
        is_leaving boolean NOT NULL DEFAULT false, commits bigint NOT NULL DEFAULT 0) WITH (fillfactor = 50)""",
    # Beside `members`, so that a beat does not wait for a long commit.
    "CREATE TABLE beats (member bigint PRIMARY KEY, at timestamptz NOT NULL) WITH (fillfactor = 50)",
    # `member` 0: given to nobody; else who is not in `members` has died. `opening` numbers the times the part was taken from
    # the dead; its messages up to `border` were there then.
    """CREATE TABLE parts (part smallint PRIMARY KEY, member bigint NOT NULL, opening bigint NOT NULL, border bigint NOT NULL)
        WITH (fillfactor = 50)""",
    "INSERT INTO parts SELECT n, -1, 0, 0 FROM generate_series(0, 63) AS n",
    # One row: no sequence number above `last_seq` and no id or opening above `last_opening` was given to members.
    "CREATE TABLE numbers (last_seq bigint NOT NULL, last_opening bigint NOT NULL)",
    """INSERT INTO numbers SELECT greatest((SELECT max(last_seq) FROM owners), (SELECT max(seq) FROM messages), 0),
        greatest((SELECT max(token) FROM owners), 0)""",
    "UPDATE owners SET token = token + 1",
    # A member counts in rows of its own (`slot` is its id); 0 is for all who are gone. What is held is counted by part (-1 - part).
    "ALTER TABLE counters ADD COLUMN slot bigint NOT NULL DEFAULT 0",
    "ALTER TABLE counters DROP CONSTRAINT counters_pkey, ADD PRIMARY KEY (flow, state, held_by, slot)",
    "DELETE FROM counters WHERE state = 2",
    """INSERT INTO counters (flow, state, held_by, slot, n)
        SELECT flow, 2, held_by, -1 - part, count(*) FROM messages WHERE state = 2 GROUP BY flow, held_by, part""",
)

MIGRATIONS: tuple[Migration, ...] = (
    Migration(_FIRST, compatible_from=1),
    Migration(_MEMBERS, compatible_from=2),
)

VERSION_TABLE = "CREATE TABLE IF NOT EXISTS version (version integer PRIMARY KEY, applied_at bigint NOT NULL)"
COMPATIBLE_COLUMN = "ALTER TABLE version ADD COLUMN IF NOT EXISTS compatible_from integer NOT NULL DEFAULT 1"
