-- The two ClickHouse users that Rowspout runs as, each with what it needs and no more. Run this as an administrator, in
-- the database of the tables and, where users are not replicated, on every replica. Each statement can be repeated.
--
-- Nobody can log in as either of them at first, since no password has that hash:
--     ALTER USER rowspout IDENTIFIED BY '…';
--     ALTER USER rowspout_log IDENTIFIED BY '…';
-- Rowspout is told with ROWSPOUT_CLICKHOUSE_USER, ROWSPOUT_CLICKHOUSE_PASSWORD, ROWSPOUT_LOG_USER and ROWSPOUT_LOG_PASSWORD.
-- `schema apply`, `site`, `key` and `load` write other tables: they are an administrator's.

-- How the reader's queries run, whatever they ask for. Numbers are Rowspout's defaults: max_query_seconds, max_query_bytes,
-- and a little more than stall_seconds. With readonly = 2 nothing can be written, and settings can be made as exports do.
CREATE SETTINGS PROFILE IF NOT EXISTS rowspout SETTINGS
    readonly = 2,
    max_execution_time = 3600 MIN 1 MAX 3600,
    max_memory_usage = 4294967296 MIN 1 MAX 4294967296,
    http_send_timeout = 150;

-- Reads websites, keys and events.
CREATE USER IF NOT EXISTS rowspout
    IDENTIFIED WITH sha256_hash BY '0000000000000000000000000000000000000000000000000000000000000000'
    SETTINGS PROFILE 'rowspout';

GRANT SELECT ON websites TO rowspout;

GRANT SELECT ON api_keys TO rowspout;

-- Of events_table, if that is another one. A view needs the same for the table behind it; on a cluster, events_local too.
GRANT SELECT ON events TO rowspout;

-- To end its own queries when a client leaves. KILL QUERY itself needs no grant for those.
GRANT SELECT(query_id, user, query) ON system.processes TO rowspout;

-- For `rowspout check` alone: how parts lie.
GRANT SELECT(database, table, active, partition, min_time, max_time) ON system.parts TO rowspout;

-- Writes and reads the log of exports, from which receipts come.
CREATE USER IF NOT EXISTS rowspout_log
    IDENTIFIED WITH sha256_hash BY '0000000000000000000000000000000000000000000000000000000000000000';

GRANT SELECT, INSERT ON export_log TO rowspout_log;
