CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL,
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE alerts (
	id INTEGER NOT NULL,
	at DATETIME NOT NULL,
	host TEXT NOT NULL,
	rule TEXT NOT NULL,
	subject TEXT NOT NULL,
	metric TEXT NOT NULL,
	severity VARCHAR(16) NOT NULL,
	state VARCHAR(16) NOT NULL,
	condition TEXT NOT NULL,
	summary TEXT NOT NULL,
	value FLOAT NOT NULL,
	started_at DATETIME NOT NULL,
	fired_at DATETIME NOT NULL,
	resolved_at DATETIME,
	PRIMARY KEY (id)
);

CREATE INDEX alerts_by_time ON alerts (at, id);

CREATE TABLE audit (
	id INTEGER NOT NULL,
	at DATETIME NOT NULL,
	actor TEXT NOT NULL,
	face VARCHAR(16) NOT NULL,
	operation TEXT NOT NULL,
	arguments BLOB NOT NULL,
	outcome TEXT NOT NULL,
	duration_ms FLOAT NOT NULL,
	request_id TEXT,
	model TEXT,
	PRIMARY KEY (id)
);

CREATE INDEX audit_by_time ON audit (at, id);

CREATE TABLE conversations (
	id VARCHAR(64) NOT NULL,
	owner TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	used_at DATETIME NOT NULL,
	metadata BLOB NOT NULL,
	next_position BIGINT NOT NULL,
	size_bytes BIGINT NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX conversations_by_use ON conversations (used_at, id, size_bytes);

CREATE TABLE decisions (
	name VARCHAR(64) NOT NULL,
	taken_at DATETIME NOT NULL,
	PRIMARY KEY (name)
)
 WITHOUT ROWID;

CREATE TABLE keys (
	name VARCHAR(64) NOT NULL,
	secret BLOB NOT NULL,
	PRIMARY KEY (name)
);

CREATE TABLE leases (
	session_id VARCHAR(256) NOT NULL,
	name TEXT NOT NULL,
	machine TEXT NOT NULL,
	pid BIGINT NOT NULL,
	started FLOAT NOT NULL,
	nonce VARCHAR(32) NOT NULL,
	expires_at DATETIME NOT NULL,
	PRIMARY KEY (session_id)
);

CREATE TABLE metrics (
	source VARCHAR(128) NOT NULL,
	step INTEGER NOT NULL,
	start BIGINT NOT NULL,
	writer VARCHAR(16) NOT NULL,
	content BLOB NOT NULL,
	PRIMARY KEY (source, step, start, writer)
);

CREATE TABLE responses (
	id VARCHAR(64) NOT NULL,
	owner TEXT NOT NULL,
	created_at DATETIME NOT NULL,
	used_at DATETIME NOT NULL,
	status VARCHAR(16) NOT NULL,
	is_background BOOLEAN NOT NULL,
	previous_id VARCHAR(64),
	conversation_id VARCHAR(64),
	conversation_position BIGINT,
	input BLOB NOT NULL,
	body BLOB NOT NULL,
	size_bytes BIGINT NOT NULL,
	name TEXT,
	machine TEXT,
	pid BIGINT,
	started FLOAT,
	nonce VARCHAR(32),
	expires_at DATETIME,
	PRIMARY KEY (id)
);

CREATE INDEX responses_by_use ON responses (used_at, id, size_bytes);

CREATE TABLE sessions (
	id VARCHAR(256) NOT NULL,
	created_at DATETIME NOT NULL,
	updated_at DATETIME NOT NULL,
	model TEXT,
	system BLOB NOT NULL,
	next_position BIGINT NOT NULL,
	message_count INTEGER NOT NULL,
	size_bytes BIGINT NOT NULL,
	revision BIGINT NOT NULL,
	PRIMARY KEY (id)
);

CREATE INDEX sessions_by_age ON sessions (created_at, id);

CREATE INDEX sessions_by_use ON sessions (updated_at, id);

CREATE TABLE snapshots (
	state_id VARCHAR(64) NOT NULL,
	session_id VARCHAR(256) NOT NULL,
	created_at DATETIME NOT NULL,
	size_bytes BIGINT NOT NULL,
	schema_version INTEGER NOT NULL,
	compression VARCHAR(16) NOT NULL,
	sha256 VARCHAR(64) NOT NULL,
	models INTEGER NOT NULL,
	conversations INTEGER NOT NULL,
	configurations INTEGER NOT NULL,
	has_metrics BOOLEAN NOT NULL,
	files BLOB NOT NULL,
	content BLOB NOT NULL,
	PRIMARY KEY (state_id)
);

CREATE INDEX snapshots_by_session ON snapshots (session_id, created_at);

CREATE TABLE conversation_items (
	conversation_id VARCHAR(64) NOT NULL,
	position BIGINT NOT NULL,
	item_id VARCHAR(256) NOT NULL,
	body BLOB NOT NULL,
	PRIMARY KEY (conversation_id, position),
	FOREIGN KEY(conversation_id) REFERENCES conversations (id) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE UNIQUE INDEX conversation_items_by_id ON conversation_items (item_id, conversation_id);

CREATE TABLE messages (
	session_id VARCHAR(256) NOT NULL,
	position BIGINT NOT NULL,
	body BLOB NOT NULL,
	PRIMARY KEY (session_id, position),
	FOREIGN KEY(session_id) REFERENCES sessions (id) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE TABLE response_events (
	response_id VARCHAR(64) NOT NULL,
	sequence_number BIGINT NOT NULL,
	body BLOB NOT NULL,
	PRIMARY KEY (response_id, sequence_number),
	FOREIGN KEY(response_id) REFERENCES responses (id) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE TABLE response_items (
	item_id VARCHAR(256) NOT NULL,
	response_id VARCHAR(64) NOT NULL,
	PRIMARY KEY (item_id, response_id),
	FOREIGN KEY(response_id) REFERENCES responses (id) ON DELETE CASCADE
)
 WITHOUT ROWID;

CREATE INDEX response_items_by_response ON response_items (response_id);

INSERT INTO alembic_version (version_num) VALUES ('0006');
