-- Synthetic traffic of one website, made inside ClickHouse: {events:UInt64} events of {site:String} from the day
-- {start:Date} to the day {end:Date}, both included, spread evenly and in order of time. Every choice is a hash of the
-- event's number, so the same parameters give the same rows on every machine.
INSERT INTO events
    (website_id, timestamp, event_id, event_type, url, event_name, event_data, visitor_id, session_id,
     country, region, city, browser, os, device, referrer, utm_source, utm_medium, utm_campaign, is_bot)
WITH
    [('US', 'CA', 'San Francisco'), ('US', 'NY', 'New York'), ('DE', 'BE', 'Berlin'), ('DE', 'BY', 'München'),
     ('FR', 'IDF', 'Paris'), ('BR', 'SP', 'São Paulo'), ('IN', 'KA', 'Bengaluru'), ('JP', '13', '東京'),
     ('GB', 'ENG', 'London'), ('AU', 'NSW', 'Sydney'), ('CA', 'QC', 'Montréal'), ('SG', '', 'Singapore'),
     ('NL', 'NH', 'Amsterdam'), ('PL', 'MZ', 'Warszawa'), ('KR', '11', '서울'), ('', '', '')] AS places,
    [('Chrome', 'Windows', 'desktop'), ('Chrome', 'macOS', 'desktop'), ('Chrome', 'Android', 'mobile'),
     ('Safari', 'iOS', 'mobile'), ('Safari', 'macOS', 'desktop'), ('Firefox', 'Linux', 'desktop'),
     ('Edge', 'Windows', 'desktop'), ('Samsung Internet', 'Android', 'tablet')] AS agents,
    ['Googlebot', 'bingbot', 'AhrefsBot', 'curl'] AS bots,
    ['/', '/pricing', '/docs/getting-started', '/docs/api/export', '/blog/why-we-count-rows',
     '/blog/time-zones-are-hard', '/features/reports', '/blog/caf%C3%A9-case-study', '/signup', '/changelog',
     '/search', '/customers'] AS paths,
    ['https://www.google.com/', 'https://news.ycombinator.com/item?id=', 'https://t.co/', 'https://duckduckgo.com/',
     'https://www.linkedin.com/feed/', 'https://github.com/search?type=repositories&q=export,clickhouse&p=',
     'https://www.google.com/search?client=firefox-b-d&q=stream+rows+%22out+of%22+clickhouse&sourceid=chrome&ie=UTF-8&start='] AS referrers,
    [('google', 'cpc', 'spring_sale'), ('newsletter', 'email', '2026-02'), ('twitter', 'social', 'launch'),
     ('partner', 'referral', 'q1, joint "webinar"')] AS campaigns,
    ['signup_click', 'download', 'video_play', 'form_submit', 'outbound_link', 'scroll_depth'] AS names,
    toUnixTimestamp64Milli(toDateTime64({start:Date}, 3, 'UTC')) AS first_ms,
    toInt64(({end:Date} - {start:Date} + 1)) * 86400000 AS span_ms
SELECT
    {site:String},
    -- Some clocks count milliseconds and some whole seconds; the choice goes by second, which keeps the order.
    fromUnixTimestamp64Milli(if(cityHash64(intDiv(at_ms, 1000)) % 3 = 0, at_ms, intDiv(at_ms, 1000) * 1000), 'UTC'),
    number + 1,
    if(is_custom, 'event', 'pageview'),
    concat(paths[path + 1],
           if(path = 10, concat('?q=', toString(h % 977), '&page=', toString(h % 5)), ''),
           if(has_utm, concat(if(path = 10, '&', '?'), 'utm_source=', campaign.1, '&utm_medium=', campaign.2), '')),
    if(is_custom, names[h % 6 + 1], ''),
    multiIf(NOT is_custom, '',
            h % 6 = 0, concat('{"plan":"', ['free', 'pro', 'team'][intDiv(h, 6) % 3 + 1], '","seats":', toString(h % 50 + 1), '}'),
            h % 6 = 1, concat('{"file":"report-', toString(h % 1000), '.pdf","bytes":', toString(h % 9000000), '}'),
            h % 6 = 2, concat('{"title":"Überblick – 概要","seconds":', toString(h % 600), '.', toString(h % 10), '}'),
            h % 6 = 3, concat('{"form":"contact","fields":["name","e-mail","message"],"ok":', if(h % 7 = 0, 'false', 'true'), '}'),
            h % 6 = 4, concat('{"href":"https://example.com/?a=', toString(h % 100), '&b=\\"quoted\\"","text":"two\\nlines","new_tab":null}'),
            ''),
    lower(hex(visitor)),
    concat('sess_', lower(substring(hex(cityHash64(visitor, intDiv(number, 4096))), 1, 10))),
    place.1, place.2, place.3,
    if(bot, bots[visitor % 4 + 1], agent.1),
    if(bot, '', agent.2),
    agent.3,
    multiIf(bot OR h % 20 < 8, '',
            h % 20 < 12, concat('https://example.com', paths[intDiv(h, 13) % 12 + 1]),
            concat(referrers[intDiv(h, 17) % 7 + 1], if(intDiv(h, 17) % 7 IN (1, 2, 5, 6), toString(h % 40000000), ''))),
    if(has_utm, campaign.1, ''), if(has_utm, campaign.2, ''), if(has_utm, campaign.3, ''),
    bot
FROM
(
    SELECT
        number,
        cityHash64(number) AS h,
        -- Five visitors take turns for sixteen events.
        cityHash64(intDiv(number, 16), cityHash64(number, 'visitor') % 5) AS visitor,
        cityHash64(visitor, 'bot') % 100 < 13 AS bot,
        -- Every fifth group of eight events comes at once.
        if(cityHash64(intDiv(number, 8), 'together') % 5 = 0, intDiv(number, 8) * 8, number) AS place_in_time,
        first_ms + toInt64(floor(place_in_time / {events:UInt64} * span_ms)) AS at_ms,
        NOT bot AND intDiv(h, 3) % 100 < 34 AS is_custom,
        NOT bot AND intDiv(h, 7) % 100 < 15 AS has_utm,
        -- The front page is seen most.
        least(intDiv(h, 11) % 12, intDiv(h, 19) % 12) AS path,
        places[intDiv(visitor, 8) % 16 + 1] AS place,
        agents[intDiv(visitor, 128) % 8 + 1] AS agent,
        campaigns[intDiv(h, 23) % 4 + 1] AS campaign
    FROM numbers({events:UInt64})
)
-- One thread, so that the parts follow each other in time.
SETTINGS max_insert_threads = 1
