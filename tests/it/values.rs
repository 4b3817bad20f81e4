//! Values come out as the contract says, hostile ones too, and the files still parse.

use rowspout::pushdown::columns::{COLUMNS, TEXT_COLUMNS};
use serde_json::Value;

use crate::support::insert::{self, Event, database};
use crate::support::service::TestService;

const DAY: &str = "start_date=2026-03-03&end_date=2026-03-03";

/// 2026-03-03T10:15:00Z.
const QUARTER_PAST_TEN: i64 = 1_772_532_900_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_published_example_comes_out_byte_for_byte() {
    let database = database().await;
    insert::website(&database, "site_abc123").await;
    let common = |event: Event| {
        event
            .with("visitor_id", "a1b2c3d4e5f6g7h8")
            .with("session_id", "sess_xyz789")
            .with("country", "US")
            .with("region", "CA")
            .with("city", "San Francisco")
            .with("browser", "Chrome")
            .with("os", "macOS")
            .with("device", "desktop")
    };
    let view = common(Event::at(QUARTER_PAST_TEN, 1))
        .with("url", "/")
        .with("referrer", "https://google.com");
    let mut click = common(Event::at(QUARTER_PAST_TEN + 90_000, 2))
        .with("event_name", "signup_click")
        .with("event_data", r#"{"plan":"pro"}"#);
    click.event_type = 2;
    insert::events(&database, "site_abc123", &[view, click]).await;
    let service = TestService::start(&database.config).await;

    let range = "start_date=2026-03-01&end_date=2026-03-07";
    let csv = service.export("site_abc123", range).await.text();
    assert_eq!(
        csv,
        r#"timestamp,event_type,url,event_name,event_data,visitor_id,session_id,country,region,city,browser,os,device,referrer,utm_source,utm_medium,utm_campaign
2026-03-03T10:15:00Z,pageview,/,,,a1b2c3d4e5f6g7h8,sess_xyz789,US,CA,San Francisco,Chrome,macOS,desktop,https://google.com,,,
2026-03-03T10:16:30Z,event,,signup_click,"{""plan"":""pro""}",a1b2c3d4e5f6g7h8,sess_xyz789,US,CA,San Francisco,Chrome,macOS,desktop,,,,
"#
    );
    let json: Value = serde_json::from_str(
        &service
            .export("site_abc123", &format!("{range}&format=json"))
            .await
            .text(),
    )
    .expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(2));
    assert_eq!(json[0]["event_data"], Value::Null);
    assert_eq!(json[1]["event_data"], serde_json::json!({"plan": "pro"}));
    assert_eq!(json[1]["timestamp"], "2026-03-03T10:16:30Z");
}

/// Texts that have broken some exporter somewhere.
fn hostile_texts() -> Vec<Vec<u8>> {
    let mut texts: Vec<Vec<u8>> = [
        "\"", "\"\"", ",", "a,b", "\r", "\n", "\r\n", "a\nb", "\0", "a\0b", "\t", "\u{1}\u{1f}\u{7f}", "'", "\\", "\\n",
        "🦀", "e\u{301}", "\u{2028}", "\u{feff}x", "=1+1", "@SUM(A1)", "-1", "NULL", "null", "\\N", "true", "NaN",
        "9223372036854775808", "18446744073709551616", "1e999", "-0", "0123", "{", "[1,2", "{\"a\":1,}", "\"open",
        "{\"a\": 1}", "{\"a\":\n\r\n  [1,\n2]}", " [ ] ", "{\"k\":\"\\ud800\"}", "{\"k\":\"\\ud83e\\udd80\"}", "\"\\x\"",
        "{\"a\":1}{\"b\":2}", "{'a':1}", "{\"big\":9223372036854775808,\"z\":1,\"a\":2}", "1.0000000000000000000001",
        "Code: 241. DB::Exception: Memory limit exceeded (total): (while reading)) (version 24.10.1.2812))\n",
        "\r\n__exception__\r\nabcdefghijklmnop\r\nCode: 1. DB::Exception: x\r\n", "__exception__\r\nCode: 1\n",
        "<script>alert(1)</script>", "'; DROP TABLE events; --", "{site:String}", "%00%0d%0a", " leading", "trailing ",
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    texts.push(b"\xff".to_vec());
    texts.push(b"a\xc3".to_vec());
    texts.push(b"\xa9b".to_vec());
    texts.push(b"\xed\xa0\x80".to_vec());
    texts.push(b"{\"a\":\"\xff\"}".to_vec());
    texts.push([b"[".repeat(100), b"]".repeat(100)].concat());
    texts.push([b"[".repeat(100_000), b"]".repeat(100_000)].concat());
    texts.push(b"Code: 1. DB::Exception: ))\n".repeat(40_000));
    texts.push(b"\"".repeat(1 << 20));
    texts.push("ü\n".as_bytes().repeat(350_000));
    texts
}

/// A row for each text with that text in every column.
fn hostile_events() -> Vec<Event> {
    hostile_texts()
        .into_iter()
        .enumerate()
        .map(|(index, text)| {
            let mut event = Event::at(QUARTER_PAST_TEN + index as i64, index as u64);
            // One long text a row is enough to fill chunks and batches.
            let columns = if text.len() > 10_000 {
                2..4
            } else {
                0..TEXT_COLUMNS.len()
            };
            for column in columns {
                event.text[column] = text.clone();
            }
            event
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_in_every_column_survive_every_format() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let events = hostile_events();
    insert::events(&database, "site_a", &events).await;
    let service = TestService::start(&database.config).await;
    let expected: Vec<[String; TEXT_COLUMNS.len()]> = events
        .iter()
        .map(|event| std::array::from_fn(|i| String::from_utf8_lossy(&event.text[i]).into_owned()))
        .collect();

    let csv = service.export("site_a", DAY).await.text();
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(reader.headers().expect("a header"), COLUMNS.as_slice());
    let records: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().expect("CSV");
    assert_eq!(records.len(), expected.len());
    for (record, expected) in records.iter().zip(&expected) {
        assert_eq!(
            record.iter().skip(2).collect::<Vec<_>>(),
            expected.each_ref().map(String::as_str)
        );
    }

    let json = service
        .export("site_a", &format!("{DAY}&format=json"))
        .await
        .text();
    let whole: Vec<Value> = serde_json::from_str(&json).expect("JSON");
    let ndjson = service
        .export("site_a", &format!("{DAY}&format=ndjson"))
        .await
        .text();
    let lines: Vec<Value> = ndjson
        .split_terminator('\n')
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    assert_eq!(whole, lines);
    assert_eq!(whole.len(), expected.len());
    for (object, expected) in whole.iter().zip(&expected) {
        for (name, expected) in TEXT_COLUMNS.iter().zip(expected) {
            let value = &object[*name];
            if expected.is_empty() {
                assert_eq!(value, &Value::Null);
            } else if *name == "event_data" {
                // What a strict reader takes is the value itself; anything else is its text.
                let strict = serde_json::from_str::<Value>(expected).ok();
                assert!(
                    strict.as_ref() == Some(value) || value == expected.as_str(),
                    "{expected:.80} became {value:.80}"
                );
            } else {
                assert_eq!(value, expected.as_str());
            }
        }
    }
    // Valid JSON is spliced as its own text.
    assert!(ndjson.contains(r#""event_data":{"big":9223372036854775808,"z":1,"a":2},"#));
    assert!(ndjson.contains(r#""event_data":{"a": 1},"#));
    assert!(ndjson.contains(r#""event_data":{"a":  [1,2]},"#));

    let file = service
        .export("site_a", &format!("{DAY}&format=parquet"))
        .await
        .body
        .expect("a file");
    let rows = crate::support::parquet::rows(file);
    assert_eq!(rows.len(), expected.len());
    for (index, (row, expected)) in rows.iter().zip(&expected).enumerate() {
        assert_eq!(row.timestamp, (QUARTER_PAST_TEN + index as i64) * 1_000);
        let got: Vec<&str> = row
            .text
            .iter()
            .map(|text| text.as_deref().unwrap_or(""))
            .collect();
        assert_eq!(got, expected.each_ref().map(String::as_str));
        assert!(
            row.text.iter().all(|text| text.as_deref() != Some("")),
            "an empty text is null"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn milliseconds_appear_only_where_they_are_not_zero() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let offsets = [0, 1, 250, 999, 1_000, 60_000];
    let events: Vec<Event> = offsets
        .iter()
        .enumerate()
        .map(|(id, offset)| Event::at(QUARTER_PAST_TEN + offset, id as u64))
        .collect();
    insert::events(&database, "site_a", &events).await;
    let service = TestService::start(&database.config).await;
    for (zone, ends) in [
        (
            "UTC",
            [
                "10:15:00Z",
                "10:15:00.001Z",
                "10:15:00.250Z",
                "10:15:00.999Z",
                "10:15:01Z",
                "10:16:00Z",
            ],
        ),
        (
            "Etc/UTC",
            [
                "10:15:00Z",
                "10:15:00.001Z",
                "10:15:00.250Z",
                "10:15:00.999Z",
                "10:15:01Z",
                "10:16:00Z",
            ],
        ),
        (
            "Europe/London",
            [
                "10:15:00+00:00",
                "10:15:00.001+00:00",
                "10:15:00.250+00:00",
                "10:15:00.999+00:00",
                "10:15:01+00:00",
                "10:16:00+00:00",
            ],
        ),
        (
            "Asia/Kolkata",
            [
                "15:45:00+05:30",
                "15:45:00.001+05:30",
                "15:45:00.250+05:30",
                "15:45:00.999+05:30",
                "15:45:01+05:30",
                "15:46:00+05:30",
            ],
        ),
        (
            "America/St_Johns",
            [
                "06:45:00-03:30",
                "06:45:00.001-03:30",
                "06:45:00.250-03:30",
                "06:45:00.999-03:30",
                "06:45:01-03:30",
                "06:46:00-03:30",
            ],
        ),
    ] {
        let csv = service
            .export("site_a", &format!("{DAY}&timezone={zone}"))
            .await
            .text();
        let stamps: Vec<&str> = csv
            .lines()
            .skip(1)
            .map(|line| line.split(',').next().unwrap_or(""))
            .collect();
        assert_eq!(
            stamps,
            ends.map(|end| format!("2026-03-03T{end}")),
            "{zone}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_choose_the_rows_that_plain_sql_chooses() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    insert::website(&database, "site_b").await;
    let events: Vec<Event> = (0..1_000)
        .map(|id| {
            let mut event =
                Event::at(QUARTER_PAST_TEN + id * 77_777, id as u64).with("url", format!("/{id}"));
            event.event_type = 1 + u8::from(id % 3 == 0);
            event.is_bot = id % 7 == 0;
            event
        })
        .collect();
    insert::events(&database, "site_a", &events).await;
    insert::events(&database, "site_b", &events[..10]).await;
    let service = TestService::start(&database.config).await;
    for (query, filter) in [
        ("", "NOT is_bot"),
        ("&include_bots=true", "1"),
        (
            "&include_bots=false&event_type=pageview",
            "NOT is_bot AND event_type = 'pageview'",
        ),
        (
            "&include_bots=true&event_type=event",
            "event_type = 'event'",
        ),
    ] {
        let csv = service
            .export("site_a", &format!("{DAY}{query}"))
            .await
            .text();
        let got: Vec<&str> = csv
            .lines()
            .skip(1)
            .filter_map(|line| line.split(',').nth(2))
            .collect();
        let expected = database
            .client
            .query_raw(&format!(
                "SELECT url FROM events WHERE website_id = 'site_a' AND toDate(timestamp, 'UTC') = '2026-03-03' AND {filter} \
                 ORDER BY timestamp, event_id"
            ))
            .fetch_all::<String>()
            .await
            .expect("rows");
        assert!(!expected.is_empty() && expected.len() < 1_000);
        assert_eq!(got, expected);
    }
}
