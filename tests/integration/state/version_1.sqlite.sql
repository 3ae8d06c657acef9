-- A state store as version 1 of the schema made it, with some writes in it.
CREATE TABLE schema_version (
    version INTEGER NOT NULL
);
CREATE TABLE write_queues (
    scope VARCHAR(64) NOT NULL,
    user_id VARCHAR(512) NOT NULL,
    fingerprint VARCHAR(64) NOT NULL,
    owner VARCHAR(64),
    token BIGINT DEFAULT 0 NOT NULL,
    lease_expires_at DOUBLE,
    due_at DOUBLE,
    PRIMARY KEY (scope, user_id)
);
CREATE INDEX write_queues_due ON write_queues (scope, due_at);
CREATE TABLE writes (
    seq INTEGER NOT NULL,
    id VARCHAR(36) NOT NULL,
    scope VARCHAR(64) NOT NULL,
    user_id VARCHAR(512) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    fingerprint VARCHAR(64) NOT NULL,
    accepted_by VARCHAR(64) NOT NULL,
    status VARCHAR(8) NOT NULL,
    parked BOOLEAN DEFAULT false NOT NULL,
    payload JSON,
    "plan" JSON,
    result JSON,
    attempts INTEGER DEFAULT 0 NOT NULL,
    next_attempt_at DOUBLE NOT NULL,
    error_code VARCHAR(32),
    error TEXT,
    created_at DOUBLE NOT NULL,
    finished_at DOUBLE,
    PRIMARY KEY (seq),
    UNIQUE (id)
);
CREATE INDEX writes_finished ON writes (status, finished_at);
CREATE INDEX writes_of_user ON writes (scope, user_id, status, seq);
CREATE INDEX writes_accepted_by ON writes (accepted_by, status, next_attempt_at);
CREATE TABLE history (
    seq INTEGER NOT NULL,
    scope VARCHAR(64) NOT NULL,
    user_id VARCHAR(512) NOT NULL,
    agent_id VARCHAR(512),
    memory_id VARCHAR(512) NOT NULL,
    write_id VARCHAR(36) NOT NULL,
    event VARCHAR(8) NOT NULL,
    old_memory TEXT,
    new_memory TEXT,
    created_at VARCHAR(40) NOT NULL,
    updated_at VARCHAR(40) NOT NULL,
    is_deleted BOOLEAN NOT NULL,
    PRIMARY KEY (seq),
    CONSTRAINT history_once UNIQUE (write_id, memory_id)
);
CREATE INDEX history_of_memory ON history (scope, memory_id, seq);
CREATE INDEX history_of_user ON history (scope, user_id);
INSERT INTO schema_version (version) VALUES (1);
INSERT INTO write_queues (scope, user_id, fingerprint, token, due_at) VALUES ('store-1', 'alice', 'fingerprint-1', 7, 1760000000);
INSERT INTO write_queues (scope, user_id, fingerprint, token) VALUES ('store-1', 'bob', 'fingerprint-1', 3);
INSERT INTO writes (id, scope, user_id, kind, fingerprint, accepted_by, status, payload, next_attempt_at, created_at)
    VALUES ('w-1', 'store-1', 'alice', 'add', 'fingerprint-1', 'process-1', 'pending', '{"at": "2026-01-01T00:00:00+00:00", "user": "I like tea"}', 1760000000, 1760000000);
INSERT INTO writes (id, scope, user_id, kind, fingerprint, accepted_by, status, result, next_attempt_at, created_at, finished_at)
    VALUES ('w-2', 'store-1', 'bob', 'add', 'fingerprint-1', 'process-1', 'done', '{"count": 1}', 1760000000, 1760000000, 1760000001);
INSERT INTO history (scope, user_id, memory_id, write_id, event, new_memory, created_at, updated_at, is_deleted)
    VALUES ('store-1', 'bob', 'm-1', 'w-2', 'ADD', 'likes tea', '2026-01-01T00:00:00+00:00', '2026-01-01T00:00:00+00:00', false);
