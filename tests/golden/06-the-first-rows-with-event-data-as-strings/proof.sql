SELECT
  countIf(NOT (timestamp >= fromUnixTimestamp64Milli({last_timestamp:Int64}, 'UTC') AND (timestamp > fromUnixTimestamp64Milli({last_timestamp:Int64}, 'UTC') OR event_id > {last_event_id:UInt64})) AND NOT (ingested_at > fromUnixTimestamp64Milli({settled:Int64}, 'UTC'))) AS settled,
  countIf(NOT (timestamp >= fromUnixTimestamp64Milli({last_timestamp:Int64}, 'UTC') AND (timestamp > fromUnixTimestamp64Milli({last_timestamp:Int64}, 'UTC') OR event_id > {last_event_id:UInt64}))) AS up_to,
  countIf(timestamp = fromUnixTimestamp64Milli({last_timestamp:Int64}, 'UTC') AND event_id = {last_event_id:UInt64}) AS at,
  countIf(timestamp >= fromUnixTimestamp64Milli({last_timestamp:Int64}, 'UTC') AND (timestamp > fromUnixTimestamp64Milli({last_timestamp:Int64}, 'UTC') OR event_id > {last_event_id:UInt64})) AS behind
FROM events
WHERE website_id = {site:String}
  AND timestamp >= fromUnixTimestamp64Milli({from:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Milli({until:Int64}, 'UTC')
  AND ingested_at <= fromUnixTimestamp64Milli({fence:Int64}, 'UTC')
  AND ifNull(is_bot, 0) = 0
SETTINGS limit = 0, offset = 0, max_result_rows = 0, max_result_bytes = 0, timeout_overflow_mode = 'throw', read_overflow_mode = 'throw', read_overflow_mode_leaf = 'throw', result_overflow_mode = 'throw', sort_overflow_mode = 'throw', group_by_overflow_mode = 'throw', set_overflow_mode = 'throw', transfer_overflow_mode = 'throw', distinct_overflow_mode = 'throw', join_overflow_mode = 'throw', skip_unavailable_shards = 0, fallback_to_stale_replicas_for_distributed_queries = 0, use_query_cache = 0, aggregate_functions_null_for_empty = 0
-- settled = 1780271400000
-- last_timestamp = 1
-- last_event_id = 2
-- site = 'site_golden'
-- from = 1772496000000
-- until = 1772582400000
-- fence = 1780272000000
