SELECT
  intDiv(quarter - {first_quarter:Int64}, {quarters:Int64}) AS slot,
  sum(kept) AS rows,
  sumIf(kept, newest <= {settled:Int64}) AS settled,
  min(part) != max(part) AS overlaps
FROM
(
SELECT intDiv(toUnixTimestamp64Milli(timestamp) + 2250000000000, 900000) AS slot, slot AS quarter, _part AS part, count() AS kept,
  toUnixTimestamp64Milli(toDateTime64(max(ingested_at), 3, 'UTC')) AS newest
FROM events
WHERE website_id = {site:String}
  AND ((slot >= {slot_from_0:Int64} AND slot < {slot_until_0:Int64}))
  AND is_bot = 0
  AND event_type = {event_type:String}
GROUP BY quarter, part
)
GROUP BY slot
ORDER BY slot
SETTINGS max_threads = 1, optimize_use_projections = 1, limit = 0, offset = 0, max_result_rows = 0, max_result_bytes = 0, timeout_overflow_mode = 'throw', read_overflow_mode = 'throw', read_overflow_mode_leaf = 'throw', result_overflow_mode = 'throw', sort_overflow_mode = 'throw', group_by_overflow_mode = 'throw', set_overflow_mode = 'throw', transfer_overflow_mode = 'throw', distinct_overflow_mode = 'throw', join_overflow_mode = 'throw', skip_unavailable_shards = 0, fallback_to_stale_replicas_for_distributed_queries = 0, use_query_cache = 0, aggregate_functions_null_for_empty = 0
-- first_quarter = 4469418
-- quarters = 1
-- settled = 1780271400000
-- site = 'site_golden'
-- slot_from_0 = 4469418
-- slot_until_0 = 4469514
-- event_type = 'event'
