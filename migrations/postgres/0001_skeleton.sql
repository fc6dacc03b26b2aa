-- The tables of the skeleton. Same names and columns as ../sqlite/0001_skeleton.sql: a test says so.
--
-- Ids are 16 bytes (UUIDv7), times are milliseconds since 1970, JSON is text, booleans are 0 or 1, and what is
-- sealed is opaque here. What belongs to a tenant starts its key with the tenant and points at its connection by
-- (tenant, connection), so the database itself refuses a row that mixes two tenants. Keys that are
-- listed in order collate as bytes, as they do in SQLite.

CREATE TABLE tenants (
    id          BYTEA PRIMARY KEY,
    name        TEXT NOT NULL,
    created_ms  BIGINT NOT NULL
);

-- tenant_id NULL: the operator's.
CREATE TABLE api_keys (
    id            BYTEA PRIMARY KEY,
    tenant_id     BYTEA REFERENCES tenants (id),
    name          TEXT NOT NULL,
    prefix        TEXT NOT NULL,
    hash          BYTEA NOT NULL UNIQUE,
    scopes        TEXT NOT NULL,
    expires_ms    BIGINT,
    revoked_ms    BIGINT,
    last_used_ms  BIGINT,
    created_ms    BIGINT NOT NULL
);
CREATE INDEX api_keys_tenant ON api_keys (tenant_id, id);

-- tenant_id NULL: published by the operator, for everybody.
CREATE TABLE connectors (
    id          BYTEA PRIMARY KEY,
    tenant_id   BYTEA REFERENCES tenants (id),
    name        TEXT COLLATE "C" NOT NULL,
    created_ms  BIGINT NOT NULL
);
CREATE UNIQUE INDEX connectors_own ON connectors (tenant_id, name) WHERE tenant_id IS NOT NULL;
CREATE UNIQUE INDEX connectors_operator ON connectors (name) WHERE tenant_id IS NULL;

CREATE TABLE components (
    digest      BYTEA PRIMARY KEY,
    upload      BYTEA NOT NULL,
    size        BIGINT NOT NULL,
    created_ms  BIGINT NOT NULL
);

-- The bytes of components, by the upload that brought them.
CREATE TABLE component_pieces (
    upload  BYTEA NOT NULL,
    nth     BIGINT NOT NULL,
    bytes   BYTEA NOT NULL,
    PRIMARY KEY (upload, nth)
);

-- Uploads whose pieces belong to no component: not yet, or not any more.
CREATE TABLE uploads (
    id      BYTEA PRIMARY KEY,
    pieces  BIGINT NOT NULL
);

CREATE TABLE versions (
    id            BYTEA PRIMARY KEY,
    connector_id  BYTEA NOT NULL REFERENCES connectors (id),
    version       TEXT NOT NULL,
    digest        BYTEA NOT NULL REFERENCES components (digest),
    manifest      TEXT NOT NULL,
    descriptor    TEXT NOT NULL,
    exports       TEXT NOT NULL,
    imports       TEXT NOT NULL,
    size          BIGINT NOT NULL,
    created_ms    BIGINT NOT NULL,
    UNIQUE (connector_id, version)
);
CREATE INDEX versions_connector ON versions (connector_id, id);

-- tenant_id NULL: the operator's, which any tenant's connection may use.
CREATE TABLE apps (
    id              BYTEA PRIMARY KEY,
    tenant_id       BYTEA REFERENCES tenants (id),
    connector_name  TEXT NOT NULL,
    name            TEXT NOT NULL,
    client_id       TEXT,
    pins            TEXT NOT NULL,
    created_ms      BIGINT NOT NULL
);
CREATE INDEX apps_tenant ON apps (tenant_id, id);

-- owner is the text of an app's or a connection's id. The generation is also the version that the seal is bound to.
CREATE TABLE credentials (
    owner           TEXT NOT NULL,
    name            TEXT NOT NULL,
    tenant_id       BYTEA REFERENCES tenants (id),
    generation      BIGINT NOT NULL,
    sealed          BYTEA NOT NULL,
    meta            TEXT NOT NULL,
    lease_until_ms  BIGINT NOT NULL,
    lease_holder    TEXT,
    look_at_ms      BIGINT,
    updated_ms      BIGINT NOT NULL,
    ends_ms         BIGINT,
    PRIMARY KEY (owner, name)
);
CREATE INDEX credentials_looks ON credentials (look_at_ms) WHERE look_at_ms IS NOT NULL;
CREATE INDEX credentials_ending ON credentials (ends_ms) WHERE ends_ms IS NOT NULL;

CREATE TABLE connections (
    id             BYTEA NOT NULL,
    tenant_id      BYTEA NOT NULL REFERENCES tenants (id),
    connector_id   BYTEA NOT NULL REFERENCES connectors (id),
    version_id     BYTEA NOT NULL REFERENCES versions (id),
    follows        BIGINT NOT NULL,
    app_id         BYTEA REFERENCES apps (id),
    environment    TEXT NOT NULL,
    name           TEXT NOT NULL,
    status         TEXT NOT NULL,
    settings       TEXT NOT NULL,
    account        TEXT,
    account_id     TEXT,
    account_key    TEXT,
    approved       TEXT NOT NULL,
    endpoint       TEXT NOT NULL UNIQUE,
    concurrency    BIGINT NOT NULL,
    edition        BIGINT NOT NULL,
    created_ms     BIGINT NOT NULL,
    updated_ms     BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id)
);
CREATE INDEX connections_account ON connections (app_id, account_key) WHERE account_key IS NOT NULL;
CREATE INDEX connections_account_id ON connections (tenant_id, account_id) WHERE account_id IS NOT NULL;

-- What a connection went by before: runs that began on it go on by it. Its present terms are its own row's.
CREATE TABLE connection_terms (
    tenant_id      BYTEA NOT NULL,
    connection_id  BYTEA NOT NULL,
    edition        BIGINT NOT NULL,
    version_id     BYTEA NOT NULL REFERENCES versions (id),
    settings       TEXT NOT NULL,
    approved       TEXT NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, edition),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
);

CREATE TABLE connect_sessions (
    id             BYTEA PRIMARY KEY,
    tenant_id      BYTEA NOT NULL,
    connection_id  BYTEA NOT NULL,
    token_hash     BYTEA NOT NULL UNIQUE,
    state_hash     BYTEA UNIQUE,
    browser_hash   BYTEA,
    pkce           BYTEA,
    webhook_secret BYTEA,
    offered        BYTEA,
    second         BIGINT NOT NULL,
    return_url     TEXT,
    created_ms     BIGINT NOT NULL,
    expires_ms     BIGINT NOT NULL,
    used_ms        BIGINT,
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
);
CREATE INDEX connect_sessions_offers ON connect_sessions (expires_ms) WHERE offered IS NOT NULL;

-- A lane exists while it has an unfinished run. See host/store/src/lanes.rs for its life and its indexes.
CREATE TABLE lanes (
    tenant_id      BYTEA NOT NULL,
    connection_id  BYTEA NOT NULL,
    lane           TEXT COLLATE "C" NOT NULL,
    state          TEXT NOT NULL,
    priority       BIGINT NOT NULL,
    head           BYTEA NOT NULL,
    due_ms         BIGINT NOT NULL,
    ready_at_ms    BIGINT NOT NULL,
    urgent_upto    BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, lane),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
);
CREATE INDEX lanes_ready ON lanes (priority, tenant_id, connection_id, ready_at_ms) WHERE state = 'ready';
CREATE INDEX lanes_waiting ON lanes (ready_at_ms) WHERE state = 'waiting';
CREATE INDEX lanes_running ON lanes (tenant_id, connection_id) WHERE state = 'running';

-- seq is the order of arrival, which a lane keeps.
CREATE TABLE runs (
    seq                 BIGINT GENERATED ALWAYS AS IDENTITY,
    id                  BYTEA NOT NULL,
    tenant_id           BYTEA NOT NULL,
    connection_id       BYTEA NOT NULL,
    ordering_key        TEXT,
    lane                TEXT NOT NULL,
    operation           TEXT NOT NULL,
    target              TEXT NOT NULL,
    input               TEXT NOT NULL,
    state               TEXT NOT NULL,
    priority            BIGINT NOT NULL,
    run_at_ms           BIGINT NOT NULL,
    created_ms          BIGINT NOT NULL,
    started_ms          BIGINT,
    finished_ms         BIGINT,
    deadline_ms         BIGINT NOT NULL,
    root                TEXT NOT NULL,
    cause               TEXT NOT NULL,
    dedupe_key          TEXT,
    clock_ms            BIGINT NOT NULL,
    waiting             BIGINT NOT NULL,
    attempt             BIGINT NOT NULL,
    attempt_started_ms  BIGINT,
    fence               BIGINT NOT NULL,
    holder              TEXT,
    lease_until_ms      BIGINT,
    output              TEXT,
    failure             TEXT,
    resume              TEXT,
    cancel_asked_ms     BIGINT,
    -- How often it came back with `later`, and its attempts before this leg.
    leg                 BIGINT NOT NULL DEFAULT 0,
    attempts_before     BIGINT NOT NULL DEFAULT 0,
    -- On which of its connection's terms it began, from its first attempt on.
    edition             BIGINT,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
);
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
    tenant_id     BYTEA NOT NULL,
    run_id        BYTEA NOT NULL,
    number        BIGINT NOT NULL,
    started_ms    BIGINT NOT NULL,
    ended_ms      BIGINT NOT NULL,
    outcome       TEXT NOT NULL,
    failure       TEXT,
    log           TEXT NOT NULL,
    logs_dropped  BIGINT NOT NULL,
    version_id    BYTEA,
    usage         TEXT NOT NULL,
    PRIMARY KEY (tenant_id, run_id, number),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id)
);

-- What a run did to the world, in order. One entry in force per place (leg, seq, sub); superseded ones are kept to look
-- at: `shown` says what they were answered, and the answer itself is gone.
CREATE TABLE journal (
    entry           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id       BYTEA NOT NULL,
    run_id          BYTEA NOT NULL,
    leg             BIGINT NOT NULL,
    seq             BIGINT NOT NULL,
    sub             BIGINT NOT NULL,
    attempt         BIGINT NOT NULL,
    version_id      BYTEA NOT NULL,
    fingerprint     BYTEA NOT NULL,
    request         TEXT NOT NULL,
    effect_key      TEXT,
    unsafe_request  BIGINT NOT NULL,
    keyed           BIGINT NOT NULL,
    sends           BIGINT NOT NULL,
    intent_ms       BIGINT NOT NULL,
    last_intent_ms  BIGINT NOT NULL,
    answer          BYTEA,
    answer_ms       BIGINT,
    shown           TEXT,
    retryable       BIGINT NOT NULL,
    refused         BIGINT NOT NULL,
    superseded_by   BIGINT,
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id)
);
CREATE UNIQUE INDEX journal_in_force ON journal (tenant_id, run_id, leg, seq, sub) WHERE superseded_by IS NULL;
CREATE INDEX journal_run ON journal (tenant_id, run_id, entry);

-- What people said of uncertain runs: how the attempt before came out, by whose API key.
CREATE TABLE verdicts (
    entry      BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  BYTEA NOT NULL,
    run_id     BYTEA NOT NULL,
    attempt    BIGINT NOT NULL,
    verdict    TEXT NOT NULL,
    said_by    BYTEA NOT NULL,
    said_ms    BIGINT NOT NULL,
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id)
);
CREATE INDEX verdicts_run ON verdicts (tenant_id, run_id, entry);

CREATE TABLE state (
    tenant_id      BYTEA NOT NULL,
    connection_id  BYTEA NOT NULL,
    ordering_key   TEXT NOT NULL,
    key            TEXT COLLATE "C" NOT NULL,
    value          TEXT NOT NULL,
    updated_ms     BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, ordering_key, key),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
);

-- What a connection's state takes, counted along with every write of it.
CREATE TABLE state_sizes (
    tenant_id      BYTEA NOT NULL,
    connection_id  BYTEA NOT NULL,
    bytes          BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, connection_id),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
);

CREATE TABLE records (
    tenant_id      BYTEA NOT NULL,
    connection_id  BYTEA NOT NULL,
    stream         TEXT NOT NULL,
    id             TEXT COLLATE "C" NOT NULL,
    data           TEXT NOT NULL,
    hash           BYTEA NOT NULL,
    origin         TEXT NOT NULL,
    deleted        BIGINT NOT NULL,
    revision       BIGINT NOT NULL,
    created_ms     BIGINT NOT NULL,
    updated_ms     BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, stream, id),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
);

CREATE TABLE links (
    tenant_id         BYTEA NOT NULL,
    connection_id     BYTEA NOT NULL,
    stream            TEXT NOT NULL,
    record_id         TEXT COLLATE "C" NOT NULL,
    external_id       TEXT NOT NULL,
    external_version  TEXT,
    hash              BYTEA,
    updated_ms        BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, stream, record_id),
    UNIQUE (tenant_id, connection_id, stream, external_id),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
);

CREATE TABLE cursors (
    tenant_id      BYTEA NOT NULL,
    connection_id  BYTEA NOT NULL,
    stream         TEXT NOT NULL,
    cursor         TEXT NOT NULL,
    updated_ms     BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, connection_id, stream),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
);

-- scope is the text of the connection's or the app's id that the request came in for. No tenant: nobody's account.
CREATE TABLE deliveries (
    id             BYTEA PRIMARY KEY,
    tenant_id      BYTEA,
    connection_id  BYTEA,
    app_id         BYTEA REFERENCES apps (id),
    scope          TEXT NOT NULL,
    dedupe_key     TEXT,
    status         TEXT NOT NULL,
    method         TEXT NOT NULL,
    path           TEXT NOT NULL,
    query          TEXT NOT NULL,
    headers        TEXT NOT NULL,
    body           BYTEA NOT NULL,
    received_ms    BIGINT NOT NULL,
    duplicates     BIGINT NOT NULL,
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
);
CREATE UNIQUE INDEX deliveries_dedupe ON deliveries (scope, dedupe_key) WHERE dedupe_key IS NOT NULL;
CREATE INDEX deliveries_tenant ON deliveries (tenant_id, id);
CREATE INDEX deliveries_connection ON deliveries (tenant_id, connection_id, id) WHERE connection_id IS NOT NULL;

CREATE TABLE events (
    id             BYTEA NOT NULL,
    tenant_id      BYTEA NOT NULL,
    connection_id  BYTEA NOT NULL,
    event_key      TEXT NOT NULL,
    name           TEXT NOT NULL,
    subject        TEXT,
    data           TEXT NOT NULL,
    refs           TEXT NOT NULL,
    run_id         BYTEA,
    created_ms     BIGINT NOT NULL,
    depth          BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    UNIQUE (tenant_id, connection_id, event_key),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id),
    FOREIGN KEY (tenant_id, run_id) REFERENCES runs (tenant_id, id)
);
CREATE INDEX events_connection ON events (tenant_id, connection_id, id);
CREATE INDEX events_run ON events (tenant_id, run_id, id) WHERE run_id IS NOT NULL;

CREATE TABLE routes (
    id             BYTEA NOT NULL,
    tenant_id      BYTEA NOT NULL,
    name           TEXT NOT NULL,
    connection_id  BYTEA NOT NULL,
    event_name     TEXT NOT NULL,
    steps          TEXT NOT NULL,
    created_ms     BIGINT NOT NULL,
    PRIMARY KEY (tenant_id, id),
    FOREIGN KEY (tenant_id, connection_id) REFERENCES connections (tenant_id, id)
);
CREATE INDEX routes_event ON routes (tenant_id, connection_id, event_name);

-- What was made of an event: each step of each route once. Outlives its route.
CREATE TABLE fanout (
    tenant_id  BYTEA NOT NULL,
    event_id   BYTEA NOT NULL,
    route_id   BYTEA NOT NULL,
    step       BIGINT NOT NULL,
    run_id     BYTEA NOT NULL,
    PRIMARY KEY (tenant_id, event_id, route_id, step),
    FOREIGN KEY (tenant_id, event_id) REFERENCES events (tenant_id, id)
);

-- Rate budgets, by hashes that say whose they are to nobody. A day is a number: one that changes rarely is cheap to index.
CREATE TABLE budgets (
    key             BYTEA PRIMARY KEY,
    spent_until_us  BIGINT NOT NULL,
    held_until_ms   BIGINT NOT NULL,
    granted         BIGINT NOT NULL,
    used_day        BIGINT NOT NULL
);
CREATE INDEX budgets_used ON budgets (used_day);

CREATE TABLE counters (
    name   TEXT PRIMARY KEY,
    value  BIGINT NOT NULL
);

-- What secrets are sealed under. guarded: the key itself, as an external provider encrypted it; NULL where a key file holds
-- it. active_ms NULL: the root, which seals nothing. wanted_ms: since when somebody wants it to go; removing_ms: it does.
CREATE TABLE wrapping_keys (
    id                TEXT PRIMARY KEY,
    guarded           TEXT,
    created_ms        BIGINT NOT NULL,
    active_ms         BIGINT,
    rewrapped_ms      BIGINT,
    uses              BIGINT,
    tried_ms          BIGINT,
    wanted_ms         BIGINT,
    removing_ms       BIGINT,
    at_work           TEXT,
    at_work_until_ms  BIGINT NOT NULL
);

-- What holds for all of it, by name.
CREATE TABLE house (
    name   TEXT PRIMARY KEY,
    value  TEXT NOT NULL
);
