SELECT
  intDiv(toUnixTimestamp64Milli(timestamp) - {slots_from:Int64}, {slot_width:Int64}) AS slot,
  count() AS rows,
  countIf(NOT (ingested_at > fromUnixTimestamp64Milli({settled:Int64}, 'UTC'))) AS settled,
  min(_part_index) != max(_part_index) AS overlaps
FROM events
WHERE website_id = {site:String}
  AND timestamp >= fromUnixTimestamp64Milli({from:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Milli({until:Int64}, 'UTC')
  AND ingested_at <= fromUnixTimestamp64Milli({fence:Int64}, 'UTC')
  AND ifNull(is_bot, 0) = 0
  AND event_type = {event_type:String}
GROUP BY slot
ORDER BY slot
SETTINGS max_threads = 1, limit = 0, offset = 0, max_result_rows = 0, max_result_bytes = 0, timeout_overflow_mode = 'throw', read_overflow_mode = 'throw', read_overflow_mode_leaf = 'throw', result_overflow_mode = 'throw', sort_overflow_mode = 'throw', group_by_overflow_mode = 'throw', set_overflow_mode = 'throw', transfer_overflow_mode = 'throw', distinct_overflow_mode = 'throw', join_overflow_mode = 'throw', skip_unavailable_shards = 0, fallback_to_stale_replicas_for_distributed_queries = 0, use_query_cache = 0, aggregate_functions_null_for_empty = 0
-- slots_from = 1772476200000
-- slot_width = 10547
-- settled = 1780271400000
-- site = 'site_golden'
-- from = 1772476200000
-- until = 1772562600000
-- fence = 1780272000000
-- event_type = 'event'
