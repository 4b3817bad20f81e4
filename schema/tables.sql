-- Rowspout's tables. Every statement can be repeated and changes nothing then; each ends with a semicolon at the end of
-- a line, so that they can be run one by one. README.md beside this file says why they are as they are.

-- Whose events there are.
CREATE TABLE IF NOT EXISTS websites
(
    id         String                            COMMENT 'site_ and 1 to 64 of A-Za-z0-9_-',
    name       String                            COMMENT 'for people',
    timezone   String DEFAULT 'UTC'              COMMENT 'IANA name of the zone that its people live in',
    created_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when this row was written; the last one counts'
)
ENGINE = ReplacingMergeTree(created_at)
ORDER BY id;

-- What happened. Read in the order of the primary key. There is no column for addresses or user agents.
CREATE TABLE IF NOT EXISTS events
(
    website_id   LowCardinality(String)          COMMENT 'websites.id' CODEC(ZSTD(1)),
    timestamp    DateTime64(3, 'UTC')            COMMENT 'when it happened, 1900 to 2299' CODEC(Delta, ZSTD(1)),
    event_id     UInt64 DEFAULT generateSnowflakeID() COMMENT 'order among equal timestamps; unique within a website' CODEC(Delta, ZSTD(1)),
    event_type   Enum8('pageview' = 1, 'event' = 2) DEFAULT 'pageview' COMMENT 'a page was seen, or something of the site''s own' CODEC(ZSTD(1)),
    url          String                          COMMENT 'path and query, or the whole URL' CODEC(ZSTD(1)),
    event_name   LowCardinality(String)          COMMENT 'of an event of the site''s own' CODEC(ZSTD(1)),
    event_data   String                          COMMENT 'its properties, JSON text' CODEC(ZSTD(1)),
    visitor_id   String                          COMMENT 'pseudonym of a browser; how long it lasts is the collector''s choice' CODEC(ZSTD(1)),
    session_id   String                          COMMENT 'one visit' CODEC(ZSTD(1)),
    country      LowCardinality(String)          COMMENT 'ISO 3166-1 alpha-2' CODEC(ZSTD(1)),
    region       LowCardinality(String)          COMMENT 'ISO 3166-2 without the country' CODEC(ZSTD(1)),
    city         LowCardinality(String)          COMMENT 'name' CODEC(ZSTD(1)),
    browser      LowCardinality(String)          COMMENT 'name, without the version' CODEC(ZSTD(1)),
    os           LowCardinality(String)          COMMENT 'operating system, without the version' CODEC(ZSTD(1)),
    device       LowCardinality(String)          COMMENT 'desktop, mobile, tablet' CODEC(ZSTD(1)),
    referrer     String                          COMMENT 'URL that led here' CODEC(ZSTD(1)),
    utm_source   LowCardinality(String)          COMMENT 'of the URL''s campaign parameters' CODEC(ZSTD(1)),
    utm_medium   LowCardinality(String)          COMMENT 'of the URL''s campaign parameters' CODEC(ZSTD(1)),
    utm_campaign LowCardinality(String)          COMMENT 'of the URL''s campaign parameters' CODEC(ZSTD(1)),
    is_bot       Bool DEFAULT false              COMMENT 'whether a program sent it' CODEC(ZSTD(1)),
    ingested_at  DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when its INSERT began; an export reads what came before it' CODEC(Delta, ZSTD(1)),
    INDEX ingested_at_range ingested_at TYPE minmax GRANULARITY 1,
    PROJECTION quarter_hours
    (
        SELECT website_id, intDiv(toUnixTimestamp64Milli(timestamp) + 2250000000000, 900000) AS slot, event_type, is_bot,
               count(), max(ingested_at),
               sum(cityHash64(timestamp, event_id, event_type, url, event_name, event_data, visitor_id, session_id,
                              country, region, city, browser, os, device, referrer, utm_source, utm_medium, utm_campaign)),
               sum(length(url)), sum(length(event_name)), sum(length(event_data)), sum(length(visitor_id)), sum(length(session_id)),
               sum(length(country)), sum(length(region)), sum(length(city)), sum(length(browser)), sum(length(os)),
               sum(length(device)), sum(length(referrer)), sum(length(utm_source)), sum(length(utm_medium)), sum(length(utm_campaign))
        GROUP BY website_id, slot, event_type, is_bot
    )
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (website_id, timestamp, event_id)
SETTINGS non_replicated_deduplication_window = 1000, lightweight_mutation_projection_mode = 'rebuild';

-- Who may export. A revocation is a further row; one row that says revoked outweighs all others of its key.
CREATE TABLE IF NOT EXISTS api_keys
(
    id         String                            COMMENT 'names the key in lists and logs; no secret',
    hash       String                            COMMENT 'SHA-256 of the key, lower-case hexadecimal; the key itself is nowhere',
    name       String                            COMMENT 'for people',
    sites      Array(String)                     COMMENT 'websites that it opens; empty means all',
    formats    Array(String)                     COMMENT 'formats that it may export; empty means all',
    expires_at DateTime64(3, 'UTC') DEFAULT toDateTime64(0, 3, 'UTC') COMMENT 'when it opens nothing any more; 1970 means never',
    created_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when it was made',
    revoked    Bool DEFAULT false                COMMENT 'whether it opens nothing any more',
    version    UInt32 DEFAULT 0                  COMMENT 'counts the rows of one key'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (hash, id);

-- Which files were loaded into which website, so that none is loaded twice and a broken load goes on where it stopped.
-- Only the first row of a website and number is kept (by its deduplication token), so two loads never get the same one.
CREATE TABLE IF NOT EXISTS loads
(
    website_id  LowCardinality(String)           COMMENT 'websites.id',
    number      UInt32                           COMMENT 'counts the loads of a website from 1',
    sha256      String                           COMMENT 'of the file, lower-case hexadecimal',
    file        String                           COMMENT 'its name without the folder, for people',
    first_id    UInt64                           COMMENT 'event_id of its first row; row n, from 0, has first_id + n',
    rows        UInt64                           COMMENT 'rows of the file',
    started_at  DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the first attempt began',
    finished_at DateTime64(3, 'UTC') DEFAULT toDateTime64(0, 3, 'UTC') COMMENT 'when all rows were there; 1970 until then'
)
ENGINE = ReplacingMergeTree(finished_at)
ORDER BY (website_id, number)
SETTINGS non_replicated_deduplication_window = 1000;

-- What was exported: a row when an export begins, further ones while it runs and one when it ends; the highest version holds.
CREATE TABLE IF NOT EXISTS export_log
(
    export_id    String                          COMMENT 'the response''s X-Export-Id',
    key_id       LowCardinality(String)          COMMENT 'api_keys.id',
    website_id   LowCardinality(String)          COMMENT 'websites.id',
    format       LowCardinality(String)          COMMENT 'csv, json, ndjson or parquet',
    timezone     LowCardinality(String)          COMMENT 'IANA name',
    start_date   Date32                          COMMENT 'first day',
    end_date     Date32                          COMMENT 'last day',
    window_from  Nullable(DateTime64(3, 'UTC'))  COMMENT 'first instant, where instants were asked for; the days are those of UTC then',
    window_to    Nullable(DateTime64(3, 'UTC'))  COMMENT 'first instant outside, likewise',
    since        String                          COMMENT 'where an export by arrival began, a watermark or beginning; empty where days or instants were asked for; the days are no days then',
    next_since   String                          COMMENT 'the watermark that the next one goes on from',
    late_rows    UInt64                          COMMENT 'rows that earlier exports by arrival have left out, as they became visible too late',
    event_type   LowCardinality(String)          COMMENT 'pageview or event; empty means all',
    include_bots Bool                            COMMENT 'whether rows with is_bot are in it',
    filters      Array(String)                   COMMENT 'the names of its filters, without their values',
    fields       Array(String)                   COMMENT 'the columns that were asked for; empty means all',
    row_limit    UInt64                          COMMENT 'most rows that were asked for; 0 means all',
    status       LowCardinality(String)          COMMENT 'running, complete or aborted',
    reason       String                          COMMENT 'why it was aborted',
    rows         UInt64                          COMMENT 'rows in the file',
    bytes        UInt64                          COMMENT 'bytes of the file, before any Content-Encoding',
    sha256       String                          COMMENT 'of those bytes, lower-case hexadecimal; empty until it is complete',
    resumes      UInt32                          COMMENT 'how often its reading was taken up again behind the last row',
    started_at   DateTime64(3, 'UTC')            COMMENT 'when the request came',
    finished_at  DateTime64(3, 'UTC')            COMMENT 'when the last byte went; 1970 while it runs',
    heartbeat_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when this row was written; a running export that is silent for long was lost',
    version      UInt32                          COMMENT 'counts the rows of one export'
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(started_at)
ORDER BY export_id;

-- Columns that tables of earlier versions lack.
ALTER TABLE api_keys
    ADD COLUMN IF NOT EXISTS formats Array(String) COMMENT 'formats that it may export; empty means all' AFTER sites,
    ADD COLUMN IF NOT EXISTS expires_at DateTime64(3, 'UTC') DEFAULT toDateTime64(0, 3, 'UTC') COMMENT 'when it opens nothing any more; 1970 means never' AFTER formats;

ALTER TABLE export_log
    ADD COLUMN IF NOT EXISTS window_from Nullable(DateTime64(3, 'UTC')) COMMENT 'first instant, where instants were asked for; the days are those of UTC then' AFTER end_date,
    ADD COLUMN IF NOT EXISTS window_to Nullable(DateTime64(3, 'UTC')) COMMENT 'first instant outside, likewise' AFTER window_from,
    ADD COLUMN IF NOT EXISTS since String COMMENT 'where an export by arrival began, a watermark or beginning; empty where days or instants were asked for; the days are no days then' AFTER window_to,
    ADD COLUMN IF NOT EXISTS next_since String COMMENT 'the watermark that the next one goes on from' AFTER since,
    ADD COLUMN IF NOT EXISTS late_rows UInt64 COMMENT 'rows that earlier exports by arrival have left out, as they became visible too late' AFTER next_since,
    ADD COLUMN IF NOT EXISTS filters Array(String) COMMENT 'the names of its filters, without their values' AFTER include_bots,
    ADD COLUMN IF NOT EXISTS fields Array(String) COMMENT 'the columns that were asked for; empty means all' AFTER filters,
    ADD COLUMN IF NOT EXISTS row_limit UInt64 COMMENT 'most rows that were asked for; 0 means all' AFTER fields,
    ADD COLUMN IF NOT EXISTS sha256 String COMMENT 'of those bytes, lower-case hexadecimal; empty until it is complete' AFTER bytes,
    ADD COLUMN IF NOT EXISTS resumes UInt32 COMMENT 'how often its reading was taken up again behind the last row' AFTER sha256,
    ADD COLUMN IF NOT EXISTS heartbeat_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when this row was written; a running export that is silent for long was lost' AFTER finished_at;

-- The counts that tables of earlier versions lack. Parts that are there already get them in the background; `schema apply`
-- leaves the last statement out where all of them have theirs, and the one before it where no rows are marked as deleted: those
-- would be counted.
ALTER TABLE events
    MODIFY SETTING lightweight_mutation_projection_mode = 'rebuild';

ALTER TABLE events
    ADD PROJECTION IF NOT EXISTS quarter_hours
    (
        SELECT website_id, intDiv(toUnixTimestamp64Milli(timestamp) + 2250000000000, 900000) AS slot, event_type, is_bot,
               count(), max(ingested_at),
               sum(cityHash64(timestamp, event_id, event_type, url, event_name, event_data, visitor_id, session_id,
                              country, region, city, browser, os, device, referrer, utm_source, utm_medium, utm_campaign)),
               sum(length(url)), sum(length(event_name)), sum(length(event_data)), sum(length(visitor_id)), sum(length(session_id)),
               sum(length(country)), sum(length(region)), sum(length(city)), sum(length(browser)), sum(length(os)),
               sum(length(device)), sum(length(referrer)), sum(length(utm_source)), sum(length(utm_medium)), sum(length(utm_campaign))
        GROUP BY website_id, slot, event_type, is_bot
    );

ALTER TABLE events
    APPLY DELETED MASK;

ALTER TABLE events
    MATERIALIZE PROJECTION quarter_hours;
