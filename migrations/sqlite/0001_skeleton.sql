-- The tables of the skeleton. Same names and columns as ../postgres/0001_skeleton.sql: a test says so.
--
-- Ids are 16 bytes (UUIDv7), times are milliseconds since 1970, JSON is text, booleans are 0 or 1, and what is
-- sealed is opaque here. What belongs to a tenant starts its key with the tenant and points at its connection by
-- (tenant, connection), so the database itself refuses a row that mixes two tenants. WITHOUT ROWID where rows are small.

CREATE TABLE tenants (
    id          BLOB PRIMARY KEY NOT NULL,
    name        TEXT NOT NULL,
    created_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- tenant_id NULL: the operator's.
CREATE TABLE api_keys (
    id            BLOB PRIMARY KEY NOT NULL,
    tenant_id     BLOB REFERENCES tenants (id),
    name          TEXT NOT NULL,
    prefix        TEXT NOT NULL,
    hash          BLOB NOT NULL UNIQUE,
    scopes        TEXT NOT NULL,
    expires_ms    INTEGER,
    revoked_ms    INTEGER,
    last_used_ms  INTEGER,
    created_ms    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_tenant ON api_keys (tenant_id, id);

-- tenant_id NULL: published by the operator, for everybody.
CREATE TABLE connectors (
    id          BLOB PRIMARY KEY NOT NULL,
    tenant_id   BLOB REFERENCES tenants (id),
    name        TEXT NOT NULL,
    created_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX connectors_own ON connectors (tenant_id, name) WHERE tenant_id IS NOT NULL;
CREATE UNIQUE INDEX connectors_operator ON connectors (name) WHERE tenant_id IS NULL;

CREATE TABLE components (
    digest      BLOB PRIMARY KEY NOT NULL,
    upload      BLOB NOT NULL,
    size        INTEGER NOT NULL,
    created_ms  INTEGER NOT NULL
) STRICT;

-- The bytes of components, by the upload that brought them.
CREATE TABLE component_pieces (
    upload  BLOB NOT NULL,
    nth     INTEGER NOT NULL,
    bytes   BLOB NOT NULL,
    PRIMARY KEY (upload, nth)
) STRICT;

-- Uploads whose pieces belong to no component: not yet, or not any more.
CREATE TABLE uploads (
    id      BLOB PRIMARY KEY NOT NULL,
    pieces  INTEGER NOT NULL
) STRICT;

CREATE TABLE versions (
    id            BLOB PRIMARY KEY NOT NULL,
    connector_id  BLOB NOT NULL REFERENCES connectors (id),
    version       TEXT NOT NULL,
    digest        BLOB NOT NULL REFERENCES components (digest),
    manifest      TEXT NOT NULL,
    descriptor    TEXT NOT NULL,
    exports       TEXT NOT NULL,
    imports       TEXT NOT NULL,
    size          INTEGER NOT NULL,
    created_ms    INTEGER NOT NULL,
    UNIQUE (connector_id, version)
) STRICT;
CREATE INDEX versions_connector ON versions (connector_id, id);

-- tenant_id NULL: the operator's, which any tenant's connection may use.
CREATE TABLE apps (
    id              BLOB PRIMARY KEY NOT NULL,
    tenant_id       BLOB REFERENCES tenants (id),
    connector_name  TEXT NOT NULL,
    name            TEXT NOT NULL,
    client_id       TEXT,
    pins            TEXT NOT NULL,
    created_ms      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX apps_tenant ON apps (tenant_id, id);

-- owner is the text of an app's or a connection's id. The generation is also the version that the seal is bound to.
CREATE TABLE credentials (
    owner           TEXT NOT NULL,
    name            TEXT NOT NULL,
    tenant_id       BLOB REFERENCES tenants (id),
    generation      INTEGER NOT NULL,
    sealed          BLOB NOT NULL,
    meta            TEXT NOT NULL,
    lease_until_ms  INTEGER NOT NULL,
    lease_holder    TEXT,
    look_at_ms      INTEGER,
    updated_ms      INTEGER NOT NULL,
    ends_ms         INTEGER,
    PRIMARY KEY (owner, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX credentials_looks ON credentials (look_at_ms) WHERE look_at_ms IS NOT NULL;
CREATE INDEX credentials_ending ON credentials (ends_ms) WHERE ends_ms IS NOT NULL;

CREATE TABLE connections (
    id             BLOB NOT NULL,
    tenant_id      BLOB NOT NULL REFERENCES tenants (id),
    connector_id   BLOB NOT NULL REFERENCES connectors (id),
    version_id     BLOB NOT NULL REFERENCES versions (id),
    follows        INTEGER NOT NULL,
    app_id         BLOB REFERENCES apps (id),
    environment    TEXT NOT NULL,
    name           TEXT NOT NULL,
    status         TEXT NOT NULL,
    settings       TEXT NOT NULL,
    account        TEXT,
    account_id     TEXT,
    account_key    TEXT,
    approved       TEXT NOT NULL,
    endpoint       TEXT NOT NULL UNIQUE,
    concurrency    INTEGER NOT NULL,
    edition        INTEGER NOT NULL,
    created_ms     INTEGER NOT NULL,
    updated_ms     INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id)
) STRICT;
CREATE INDEX connections_account ON connections (app_id, account_key) WHERE account_key IS NOT NULL;
CREATE INDEX connections_account_id ON connections (tenant_id, account_id) WHERE account_id IS NOT NULL;

-- What a connection went by before: runs that began on it go on by it. Its present terms are its own row's.
CREATE TABLE connection_terms (
    tenant_id      BLOB NOT NULL,
    connection_id  BLOB NOT NULL,
    edition        INTEGER NOT NULL,
    version_id     BLOB NOT NULL REFERENCES versions (id),
    settings       TEXT NOT NULL,
    approved       TEXT NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, edition),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
) STRICT;

CREATE TABLE connect_sessions (
    id             BLOB PRIMARY KEY NOT NULL,
    tenant_id      BLOB NOT NULL,
    connection_id  BLOB NOT NULL,
    token_hash     BLOB NOT NULL UNIQUE,
    state_hash     BLOB UNIQUE,
    browser_hash   BLOB,
    pkce           BLOB,
    webhook_secret BLOB,
    offered        BLOB,
    second         INTEGER NOT NULL,
    return_url     TEXT,
    created_ms     INTEGER NOT NULL,
    expires_ms     INTEGER NOT NULL,
    used_ms        INTEGER,
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX connect_sessions_offers ON connect_sessions (expires_ms) WHERE offered IS NOT NULL;

-- A lane exists while it has an unfinished run. See host/store/src/lanes.rs for its life and its indexes.
CREATE TABLE lanes (
    tenant_id      BLOB NOT NULL,
    connection_id  BLOB NOT NULL,
    lane           TEXT NOT NULL,
    state          TEXT NOT NULL,
    priority       INTEGER NOT NULL,
    head           BLOB NOT NULL,
    due_ms         INTEGER NOT NULL,
    ready_at_ms    INTEGER NOT NULL,
    urgent_upto    INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, lane),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX lanes_ready ON lanes (priority, tenant_id, connection_id, ready_at_ms) WHERE state = 'ready';
CREATE INDEX lanes_waiting ON lanes (ready_at_ms) WHERE state = 'waiting';
CREATE INDEX lanes_running ON lanes (tenant_id, connection_id) WHERE state = 'running';

-- seq is the order of arrival, which a lane keeps.
CREATE TABLE runs (
    seq                 INTEGER PRIMARY KEY,
    id                  BLOB NOT NULL,
    tenant_id           BLOB NOT NULL,
    connection_id       BLOB NOT NULL,
    ordering_key        TEXT,
    lane                TEXT NOT NULL,
    operation           TEXT NOT NULL,
    target              TEXT NOT NULL,
    input               TEXT NOT NULL,
    state               TEXT NOT NULL,
    priority            INTEGER NOT NULL,
    run_at_ms           INTEGER NOT NULL,
    created_ms          INTEGER NOT NULL,
    started_ms          INTEGER,
    finished_ms         INTEGER,
    deadline_ms         INTEGER NOT NULL,
    root                TEXT NOT NULL,
    cause               TEXT NOT NULL,
    dedupe_key          TEXT,
    clock_ms            INTEGER NOT NULL,
    waiting             INTEGER NOT NULL,
    attempt             INTEGER NOT NULL,
    attempt_started_ms  INTEGER,
    fence               INTEGER NOT NULL,
    holder              TEXT,
    lease_until_ms      INTEGER,
    output              TEXT,
    failure             TEXT,
    resume              TEXT,
    cancel_asked_ms     INTEGER,
    -- How often it came back with `later`, and its attempts before this leg.
    leg                 INTEGER NOT NULL DEFAULT 0,
    attempts_before     INTEGER NOT NULL DEFAULT 0,
    -- On which of its connection's terms it began, from its first attempt on.
    edition             INTEGER,
    UNIQUE (tenant_id, id),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
) STRICT;
CREATE UNIQUE INDEX runs_dedupe ON runs (tenant_id, connection_id, dedupe_key) WHERE dedupe_key IS NOT NULL;
CREATE INDEX runs_line ON runs (tenant_id, connection_id, lane, seq) WHERE finished_ms IS NULL;
CREATE INDEX runs_lease ON runs (lease_until_ms) WHERE state = 'running';
CREATE INDEX runs_connection ON runs (tenant_id, connection_id, id);
CREATE INDEX runs_ended ON runs (tenant_id, state, id) WHERE finished_ms IS NOT NULL;
CREATE INDEX runs_ended_of_connection ON runs (tenant_id, connection_id, state, id) WHERE finished_ms IS NOT NULL;
CREATE INDEX runs_unfinished ON runs (tenant_id, state, id) WHERE finished_ms IS NULL;
CREATE INDEX runs_unfinished_of_connection ON runs (tenant_id, connection_id, state, id) WHERE finished_ms IS NULL;
CREATE INDEX runs_uncertain ON runs (tenant_id, connection_id, lane) WHERE state = 'uncertain';

CREATE TABLE attempts (
    tenant_id     BLOB NOT NULL,
    run_id        BLOB NOT NULL,
    number        INTEGER NOT NULL,
    started_ms    INTEGER NOT NULL,
    ended_ms      INTEGER NOT NULL,
    outcome       TEXT NOT NULL,
    failure       TEXT,
    log           TEXT NOT NULL,
    logs_dropped  INTEGER NOT NULL,
    version_id    BLOB,
    usage         TEXT NOT NULL,
    PRIMARY KEY (tenant_id, run_id, number),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id)
) STRICT;

-- What a run did to the world, in order. One entry in force per place (leg, seq, sub); superseded ones are kept to look
-- at: `shown` says what they were answered, and the answer itself is gone.
CREATE TABLE journal (
    entry           INTEGER PRIMARY KEY,
    tenant_id       BLOB NOT NULL,
    run_id          BLOB NOT NULL,
    leg             INTEGER NOT NULL,
    seq             INTEGER NOT NULL,
    sub             INTEGER NOT NULL,
    attempt         INTEGER NOT NULL,
    version_id      BLOB NOT NULL,
    fingerprint     BLOB NOT NULL,
    request         TEXT NOT NULL,
    effect_key      TEXT,
    unsafe_request  INTEGER NOT NULL,
    keyed           INTEGER NOT NULL,
    sends           INTEGER NOT NULL,
    intent_ms       INTEGER NOT NULL,
    last_intent_ms  INTEGER NOT NULL,
    answer          BLOB,
    answer_ms       INTEGER,
    shown           TEXT,
    retryable       INTEGER NOT NULL,
    refused         INTEGER NOT NULL,
    superseded_by   INTEGER,
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id)
) STRICT;
CREATE UNIQUE INDEX journal_in_force ON journal (tenant_id, run_id, leg, seq, sub) WHERE superseded_by IS NULL;
CREATE INDEX journal_run ON journal (tenant_id, run_id, entry);

-- What people said of uncertain runs: how the attempt before came out, by whose API key.
CREATE TABLE verdicts (
    entry      INTEGER PRIMARY KEY,
    tenant_id  BLOB NOT NULL,
    run_id     BLOB NOT NULL,
    attempt    INTEGER NOT NULL,
    verdict    TEXT NOT NULL,
    said_by    BLOB NOT NULL,
    said_ms    INTEGER NOT NULL,
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id)
) STRICT;
CREATE INDEX verdicts_run ON verdicts (tenant_id, run_id, entry);

CREATE TABLE state (
    tenant_id      BLOB NOT NULL,
    connection_id  BLOB NOT NULL,
    ordering_key   TEXT NOT NULL,
    key            TEXT NOT NULL,
    value          TEXT NOT NULL,
    updated_ms     INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, ordering_key, key),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
) STRICT, WITHOUT ROWID;

-- What a connection's state takes, counted along with every write of it.
CREATE TABLE state_sizes (
    tenant_id      BLOB NOT NULL,
    connection_id  BLOB NOT NULL,
    bytes          INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, connection_id),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE records (
    tenant_id      BLOB NOT NULL,
    connection_id  BLOB NOT NULL,
    stream         TEXT NOT NULL,
    id             TEXT NOT NULL,
    data           TEXT NOT NULL,
    hash           BLOB NOT NULL,
    origin         TEXT NOT NULL,
    deleted        INTEGER NOT NULL,
    revision       INTEGER NOT NULL,
    created_ms     INTEGER NOT NULL,
    updated_ms     INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, stream, id),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
) STRICT;

CREATE TABLE links (
    tenant_id         BLOB NOT NULL,
    connection_id     BLOB NOT NULL,
    stream            TEXT NOT NULL,
    record_id         TEXT NOT NULL,
    external_id       TEXT NOT NULL,
    external_version  TEXT,
    hash              BLOB,
    updated_ms        INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, stream, record_id),
    UNIQUE (tenant_id, connection_id, stream, external_id),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE cursors (
    tenant_id      BLOB NOT NULL,
    connection_id  BLOB NOT NULL,
    stream         TEXT NOT NULL,
    cursor         TEXT NOT NULL,
    updated_ms     INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, stream),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
) STRICT, WITHOUT ROWID;

-- scope is the text of the connection's or the app's id that the request came in for. No tenant: nobody's account.
CREATE TABLE deliveries (
    id             BLOB PRIMARY KEY NOT NULL,
    tenant_id      BLOB,
    connection_id  BLOB,
    app_id         BLOB REFERENCES apps (id),
    scope          TEXT NOT NULL,
    dedupe_key     TEXT,
    status         TEXT NOT NULL,
    method         TEXT NOT NULL,
    path           TEXT NOT NULL,
    query          TEXT NOT NULL,
    headers        TEXT NOT NULL,
    body           BLOB NOT NULL,
    received_ms    INTEGER NOT NULL,
    duplicates     INTEGER NOT NULL,
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
) STRICT;
CREATE UNIQUE INDEX deliveries_dedupe ON deliveries (scope, dedupe_key) WHERE dedupe_key IS NOT NULL;
CREATE INDEX deliveries_tenant ON deliveries (tenant_id, id);
CREATE INDEX deliveries_connection ON deliveries (tenant_id, connection_id, id) WHERE connection_id IS NOT NULL;

CREATE TABLE events (
    id             BLOB NOT NULL,
    tenant_id      BLOB NOT NULL,
    connection_id  BLOB NOT NULL,
    event_key      TEXT NOT NULL,
    name           TEXT NOT NULL,
    subject        TEXT,
    data           TEXT NOT NULL,
    refs           TEXT NOT NULL,
    run_id         BLOB,
    created_ms     INTEGER NOT NULL,
    depth          INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, connection_id, event_key),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id)
) STRICT;
CREATE INDEX events_connection ON events (tenant_id, connection_id, id);
CREATE INDEX events_run ON events (tenant_id, run_id, id) WHERE run_id IS NOT NULL;

CREATE TABLE routes (
    id             BLOB NOT NULL,
    tenant_id      BLOB NOT NULL,
    name           TEXT NOT NULL,
    connection_id  BLOB NOT NULL,
    event_name     TEXT NOT NULL,
    steps          TEXT NOT NULL,
    created_ms     INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX routes_event ON routes (tenant_id, connection_id, event_name);

-- What was made of an event: each step of each route once. Outlives its route.
CREATE TABLE fanout (
    tenant_id  BLOB NOT NULL,
    event_id   BLOB NOT NULL,
    route_id   BLOB NOT NULL,
    step       INTEGER NOT NULL,
    run_id     BLOB NOT NULL,
    PRIMARY KEY (tenant_id, event_id, route_id, step),
    FOREIGN KEY (tenant_id, event_id) REFERENCES events (tenant_id, id)
) STRICT, WITHOUT ROWID;

-- Rate budgets, by hashes that say whose they are to nobody. A day is a number: one that changes rarely is cheap to index.
CREATE TABLE budgets (
    key             BLOB PRIMARY KEY NOT NULL,
    spent_until_us  INTEGER NOT NULL,
    held_until_ms   INTEGER NOT NULL,
    granted         INTEGER NOT NULL,
    used_day        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX budgets_used ON budgets (used_day);

CREATE TABLE counters (
    name   TEXT PRIMARY KEY NOT NULL,
    value  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What secrets are sealed under. guarded: the key itself, as an external provider encrypted it; NULL where a key file holds
-- it. active_ms NULL: the root, which seals nothing. wanted_ms: since when somebody wants it to go; removing_ms: it does.
CREATE TABLE wrapping_keys (
    id                TEXT PRIMARY KEY NOT NULL,
    guarded           TEXT,
    created_ms        INTEGER NOT NULL,
    active_ms         INTEGER,
    rewrapped_ms      INTEGER,
    uses              INTEGER,
    tried_ms          INTEGER,
    wanted_ms         INTEGER,
    removing_ms       INTEGER,
    at_work           TEXT,
    at_work_until_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What holds for all of it, by name.
CREATE TABLE house (
    name   TEXT PRIMARY KEY NOT NULL,
    value  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
