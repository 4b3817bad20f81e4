-- Rowspout's tables. Every statement can be repeated; README.md beside this file says why they are as they are.

-- Whose events there are.
CREATE TABLE IF NOT EXISTS websites
(
    id         String                 COMMENT 'site_ and 1 to 64 of A-Za-z0-9_-',
    name       String                 COMMENT 'for people',
    timezone   String DEFAULT 'UTC'   COMMENT 'IANA name',
    created_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(created_at)
ORDER BY id;

-- What happened. Read in the order of the primary key; no column for addresses.
CREATE TABLE IF NOT EXISTS events
(
    website_id   LowCardinality(String)  COMMENT 'websites.id',
    timestamp    DateTime64(3, 'UTC')    COMMENT 'when it happened' CODEC(Delta, ZSTD(1)),
    event_id     UInt64 DEFAULT generateSnowflakeID() COMMENT 'order among equal timestamps; unique in a website' CODEC(Delta, ZSTD(1)),
    event_type   Enum8('pageview' = 1, 'event' = 2),
    url          String                  COMMENT 'path and query' CODEC(ZSTD(1)),
    event_name   LowCardinality(String)  COMMENT 'of a custom event',
    event_data   String                  COMMENT 'of a custom event, JSON' CODEC(ZSTD(1)),
    visitor_id   String                  COMMENT 'rotates daily' CODEC(ZSTD(1)),
    session_id   String CODEC(ZSTD(1)),
    country      LowCardinality(String)  COMMENT 'ISO 3166-1 alpha-2',
    region       LowCardinality(String)  COMMENT 'ISO 3166-2, without the country',
    city         LowCardinality(String),
    browser      LowCardinality(String),
    os           LowCardinality(String),
    device       LowCardinality(String),
    referrer     String CODEC(ZSTD(1)),
    utm_source   LowCardinality(String),
    utm_medium   LowCardinality(String),
    utm_campaign LowCardinality(String),
    is_bot       Bool DEFAULT false,
    ingested_at  DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when its insert began; exports read up to a moment of it' CODEC(Delta, ZSTD(1)),
    INDEX ingested_at_range ingested_at TYPE minmax
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (website_id, timestamp, event_id)
SETTINGS non_replicated_deduplication_window = 1000;

-- Who may export. A change is an insert with a higher version; reads use FINAL, so a revocation counts at once.
CREATE TABLE IF NOT EXISTS api_keys
(
    id         String                COMMENT 'names the key in logs; no secret',
    hash       String                COMMENT 'SHA-256 of the key, hexadecimal; the key itself is nowhere',
    name       String                COMMENT 'for people',
    sites      Array(String)         COMMENT 'websites that it opens; none means all',
    created_at DateTime64(3, 'UTC') DEFAULT now64(3),
    revoked    Bool DEFAULT false,
    version    UInt32 DEFAULT 0
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (hash, id);

-- Which files were loaded, so that none is loaded twice and a broken load goes on where it stopped.
CREATE TABLE IF NOT EXISTS loads
(
    website_id LowCardinality(String),
    sha256     String                COMMENT 'of the file, hexadecimal',
    load_id    String,
    first_id   UInt64                COMMENT 'event_id of the first row; row n has first_id + n',
    rows       UInt64                COMMENT 'rows of the file',
    finished   Bool DEFAULT false,
    started_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(finished)
ORDER BY (website_id, sha256, load_id);

-- What was exported.
CREATE TABLE IF NOT EXISTS export_log
(
    export_id    String,
    key_id       LowCardinality(String),
    website_id   LowCardinality(String),
    format       LowCardinality(String),
    timezone     LowCardinality(String),
    start_date   Date32,
    end_date     Date32,
    event_type   LowCardinality(String) COMMENT 'empty: all',
    include_bots Bool,
    status       LowCardinality(String) COMMENT 'running, complete or aborted',
    reason       String                 COMMENT 'of an aborted one',
    rows         UInt64,
    bytes        UInt64                 COMMENT 'of the body before any Content-Encoding',
    started_at   DateTime64(3, 'UTC'),
    finished_at  DateTime64(3, 'UTC'),
    version      UInt32
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(started_at)
ORDER BY (export_id);
