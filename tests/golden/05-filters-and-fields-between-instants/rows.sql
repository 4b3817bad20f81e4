SELECT concat(
  reinterpretAsFixedString(toUInt8(multiIf(event_type = 'pageview', if(ingested_at > fromUnixTimestamp64Milli({settled:Int64}, 'UTC'), 3, 1), event_type = 'event', if(ingested_at > fromUnixTimestamp64Milli({settled:Int64}, 'UTC'), 4, 2), 0))),
  reinterpretAsFixedString(toUnixTimestamp64Milli(timestamp)),
  reinterpretAsFixedString(toUInt64(event_id)),
  reinterpretAsFixedString({offset_0:Int16}),
  reinterpretAsFixedString(bitOr(bitOr(bitAnd(toUInt32(least(length(CAST(ifNull(url, ''), 'String') AS packed_url), 268435455)) AS packed_url_length, 127), bitShiftLeft(bitAnd(packed_url_length, 16256), 1)), bitOr(bitOr(bitShiftLeft(bitAnd(packed_url_length, 2080768), 2), bitShiftLeft(bitAnd(packed_url_length, 266338304), 3)), 8421504))), packed_url,
  char(0),
  reinterpretAsFixedString(bitOr(bitOr(bitAnd(toUInt32(least(length(CAST(ifNull(event_data, ''), 'String') AS packed_event_data), 268435455)) AS packed_event_data_length, 127), bitShiftLeft(bitAnd(packed_event_data_length, 16256), 1)), bitOr(bitOr(bitShiftLeft(bitAnd(packed_event_data_length, 2080768), 2), bitShiftLeft(bitAnd(packed_event_data_length, 266338304), 3)), 8421504))), packed_event_data,
  char(0),
  char(0),
  char(0),
  char(0),
  char(0),
  char(0),
  char(0),
  char(0),
  char(0),
  char(0),
  char(0),
  char(0), char(255)) AS packed
FROM events
WHERE website_id = {site:String}
  AND timestamp >= fromUnixTimestamp64Milli({from:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Milli({until:Int64}, 'UTC')
  AND ingested_at <= fromUnixTimestamp64Milli({fence:Int64}, 'UTC')
  AND ifNull(is_bot, 0) = 0
  AND (ifNull(country, '') IN ({any_0_0:String}, {any_0_1:String}))
  AND (startsWith(ifNull(url, ''), {any_1_prefix_0:String}))
  AND NOT (ifNull(url, '') IN ({none_1_0:String}))
  AND NOT (ifNull(utm_source, '') IN ({none_2_0:String}))
  AND (JSONType(ifNull(event_data, ''), {any_3_key:String}) = 'String' AND JSONExtractString(ifNull(event_data, ''), {any_3_key:String}) IN ({any_3_0:String}, {any_3_1:String})
    OR JSONType(ifNull(event_data, ''), {any_3_key:String}) = 'Int64' AND JSONExtractInt(ifNull(event_data, ''), {any_3_key:String}) IN ({any_3_int_0:Int64})
    OR JSONType(ifNull(event_data, ''), {any_3_key:String}) = 'UInt64' AND JSONExtractUInt(ifNull(event_data, ''), {any_3_key:String}) IN ({any_3_uint_0:UInt64})
    OR JSONType(ifNull(event_data, ''), {any_3_key:String}) = 'Double' AND JSONExtractFloat(ifNull(event_data, ''), {any_3_key:String}) + 0 IN ({any_3_float_0:Float64}))
  AND NOT (JSONType(ifNull(event_data, ''), {none_4_key:String}) = 'String' AND JSONExtractString(ifNull(event_data, ''), {none_4_key:String}) IN ({none_4_0:String})
    OR JSONType(ifNull(event_data, ''), {none_4_key:String}) = 'Bool' AND JSONExtractBool(ifNull(event_data, ''), {none_4_key:String}) = true)
ORDER BY timestamp, event_id
SETTINGS query_plan_execute_functions_after_sorting = 0, read_in_order_use_buffering = 0, max_block_size = 16384, limit = 0, offset = 0, max_result_rows = 0, max_result_bytes = 0, timeout_overflow_mode = 'throw', read_overflow_mode = 'throw', read_overflow_mode_leaf = 'throw', result_overflow_mode = 'throw', sort_overflow_mode = 'throw', group_by_overflow_mode = 'throw', set_overflow_mode = 'throw', transfer_overflow_mode = 'throw', distinct_overflow_mode = 'throw', join_overflow_mode = 'throw', skip_unavailable_shards = 0, fallback_to_stale_replicas_for_distributed_queries = 0, use_query_cache = 0, aggregate_functions_null_for_empty = 0
-- settled = 1780271400000
-- offset_0 = 60
-- site = 'site_golden'
-- from = 1772532000000
-- until = 1772539200000
-- fence = 1780272000000
-- any_0_0 = 'DE'
-- any_0_1 = 'AT'
-- any_1_prefix_0 = '/shop/'
-- none_1_0 = '/shop/cart'
-- none_2_0 = ''
-- any_3_key = 'plan'
-- any_3_0 = 'pro'
-- any_3_1 = '42'
-- any_3_int_0 = '42'
-- any_3_uint_0 = '42'
-- any_3_float_0 = '42.0'
-- none_4_key = 'trial'
-- none_4_0 = 'true'
