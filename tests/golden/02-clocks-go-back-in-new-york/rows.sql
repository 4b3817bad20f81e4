SELECT concat(
  reinterpretAsFixedString(toUInt8(multiIf(event_type = 'pageview', if(ingested_at > fromUnixTimestamp64Milli({settled:Int64}, 'UTC'), 3, 1), event_type = 'event', if(ingested_at > fromUnixTimestamp64Milli({settled:Int64}, 'UTC'), 4, 2), 0))),
  reinterpretAsFixedString(toUnixTimestamp64Milli(timestamp)),
  reinterpretAsFixedString(toUInt64(event_id)),
  reinterpretAsFixedString(multiIf(timestamp < fromUnixTimestamp64Milli({transition_1:Int64}, 'UTC'), {offset_0:Int16}, {offset_1:Int16})),
  reinterpretAsFixedString(bitOr(bitOr(bitAnd(toUInt32(least(length(CAST(ifNull(url, ''), 'String') AS packed_url), 268435455)) AS packed_url_length, 127), bitShiftLeft(bitAnd(packed_url_length, 16256), 1)), bitOr(bitOr(bitShiftLeft(bitAnd(packed_url_length, 2080768), 2), bitShiftLeft(bitAnd(packed_url_length, 266338304), 3)), 8421504))), packed_url,
  formatRow('RowBinary', ifNull(event_name, '')),
  reinterpretAsFixedString(bitOr(bitOr(bitAnd(toUInt32(least(length(CAST(ifNull(event_data, ''), 'String') AS packed_event_data), 268435455)) AS packed_event_data_length, 127), bitShiftLeft(bitAnd(packed_event_data_length, 16256), 1)), bitOr(bitOr(bitShiftLeft(bitAnd(packed_event_data_length, 2080768), 2), bitShiftLeft(bitAnd(packed_event_data_length, 266338304), 3)), 8421504))), packed_event_data,
  reinterpretAsFixedString(bitOr(bitOr(bitAnd(toUInt32(least(length(CAST(ifNull(visitor_id, ''), 'String') AS packed_visitor_id), 268435455)) AS packed_visitor_id_length, 127), bitShiftLeft(bitAnd(packed_visitor_id_length, 16256), 1)), bitOr(bitOr(bitShiftLeft(bitAnd(packed_visitor_id_length, 2080768), 2), bitShiftLeft(bitAnd(packed_visitor_id_length, 266338304), 3)), 8421504))), packed_visitor_id,
  reinterpretAsFixedString(bitOr(bitOr(bitAnd(toUInt32(least(length(CAST(ifNull(session_id, ''), 'String') AS packed_session_id), 268435455)) AS packed_session_id_length, 127), bitShiftLeft(bitAnd(packed_session_id_length, 16256), 1)), bitOr(bitOr(bitShiftLeft(bitAnd(packed_session_id_length, 2080768), 2), bitShiftLeft(bitAnd(packed_session_id_length, 266338304), 3)), 8421504))), packed_session_id,
  formatRow('RowBinary', ifNull(country, '')),
  formatRow('RowBinary', ifNull(region, '')),
  formatRow('RowBinary', ifNull(city, '')),
  formatRow('RowBinary', ifNull(browser, '')),
  formatRow('RowBinary', ifNull(os, '')),
  formatRow('RowBinary', ifNull(device, '')),
  reinterpretAsFixedString(bitOr(bitOr(bitAnd(toUInt32(least(length(CAST(ifNull(referrer, ''), 'String') AS packed_referrer), 268435455)) AS packed_referrer_length, 127), bitShiftLeft(bitAnd(packed_referrer_length, 16256), 1)), bitOr(bitOr(bitShiftLeft(bitAnd(packed_referrer_length, 2080768), 2), bitShiftLeft(bitAnd(packed_referrer_length, 266338304), 3)), 8421504))), packed_referrer,
  formatRow('RowBinary', ifNull(utm_source, '')),
  formatRow('RowBinary', ifNull(utm_medium, '')),
  formatRow('RowBinary', ifNull(utm_campaign, ''), toUInt8(255))) AS packed
FROM events
WHERE website_id = {site:String}
  AND timestamp >= fromUnixTimestamp64Milli({from:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Milli({until:Int64}, 'UTC')
  AND ingested_at <= fromUnixTimestamp64Milli({fence:Int64}, 'UTC')
  AND ifNull(is_bot, 0) = 0
ORDER BY timestamp, event_id
SETTINGS query_plan_execute_functions_after_sorting = 0, read_in_order_use_buffering = 0, max_block_size = 16384, limit = 0, offset = 0, max_result_rows = 0, max_result_bytes = 0, timeout_overflow_mode = 'throw', read_overflow_mode = 'throw', read_overflow_mode_leaf = 'throw', result_overflow_mode = 'throw', sort_overflow_mode = 'throw', group_by_overflow_mode = 'throw', set_overflow_mode = 'throw', transfer_overflow_mode = 'throw', distinct_overflow_mode = 'throw', join_overflow_mode = 'throw', skip_unavailable_shards = 0, fallback_to_stale_replicas_for_distributed_queries = 0, use_query_cache = 0, aggregate_functions_null_for_empty = 0
-- settled = 1780271400000
-- offset_0 = -240
-- transition_1 = 1793512800000
-- offset_1 = -300
-- site = 'site_golden'
-- from = 1793419200000
-- until = 1793595600000
-- fence = 1780272000000
