//! What cannot be loaded is refused by its place, and nothing is written.

use rowspout::config::Config;
use rowspout::error::ErrorKind;
use rowspout::load::LoadRequest;
use rowspout::request::WebsiteId;

use super::Bench;

/// Format, content, what the error says, its line, its column.
type Case = (
    &'static str,
    Vec<u8>,
    &'static str,
    Option<u64>,
    Option<&'static str>,
);

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_loaded_is_refused_with_its_place_and_nothing_is_written() {
    let bench = Bench::new().await;
    let time = "2026-03-03T00:00:00Z";
    let csv = |rows: &str| format!("timestamp,event_type,is_bot\n{time},event,0\n{rows}");
    let json = |rows: &str| format!("{{\"timestamp\":\"{time}\"}}\n{rows}");
    let cases: [Case; 40] = [
        (
            "csv",
            csv("2026-03-03T00:00:00,event,0\n").into(),
            "no zone",
            Some(3),
            Some("timestamp"),
        ),
        (
            "csv",
            csv("2026-03-03T00:00:00.0001Z,event,0\n").into(),
            "finer than a millisecond",
            Some(3),
            Some("timestamp"),
        ),
        (
            "csv",
            csv("\"\n2026\",event,0\n").into(),
            "RFC 3339",
            Some(3),
            Some("timestamp"),
        ),
        (
            "csv",
            csv(&format!("\n{time},\"event\n\",0\n")).into(),
            "neither pageview nor event",
            Some(4),
            Some("event_type"),
        ),
        (
            "csv",
            csv(&format!("{time},\"event\r\n\",0\n"))
                .replace('\n', "\r\n")
                .into(),
            "neither pageview nor event",
            Some(3),
            Some("event_type"),
        ),
        (
            "csv",
            csv(&format!("{time},,0\n")).into(),
            "neither pageview nor event",
            Some(3),
            Some("event_type"),
        ),
        (
            "csv",
            csv(&format!("{time},event,2\n")).into(),
            "0, 1, true and false",
            Some(3),
            Some("is_bot"),
        ),
        (
            "csv",
            csv(&format!("{time},event\n")).into(),
            "2 cells where the header has 3",
            Some(3),
            None,
        ),
        (
            "csv",
            csv(&format!("{time},event,0,\n")).into(),
            "4 cells where the header has 3",
            Some(3),
            None,
        ),
        (
            "csv",
            csv(&format!(
                "{time},event,0\n{time},event,\"0\n{time},event,0\n"
            ))
            .into(),
            "true and false",
            Some(4),
            Some("is_bot"),
        ),
        ("csv", "timestamp,adress\n".into(), "adress", Some(1), None),
        ("csv", "timestamp,Url\n".into(), "Url", Some(1), None),
        (
            "csv",
            "timestamp,event_id\n".into(),
            "given by load itself",
            Some(1),
            None,
        ),
        (
            "csv",
            "website_id,timestamp\n".into(),
            "--site",
            Some(1),
            None,
        ),
        (
            "csv",
            "timestamp,url,url\n".into(),
            "url stands there twice",
            Some(1),
            None,
        ),
        (
            "csv",
            "url,city\n".into(),
            "no column timestamp",
            Some(1),
            None,
        ),
        (
            "csv",
            "\n\nurl\n".into(),
            "no column timestamp",
            Some(3),
            None,
        ),
        (
            "ndjson",
            json("{\"url\":\"\"}\n").into(),
            "missing",
            Some(2),
            Some("timestamp"),
        ),
        (
            "ndjson",
            json("{\"timestamp\":17}\n").into(),
            "integer `17`",
            Some(2),
            Some("timestamp"),
        ),
        (
            "ndjson",
            json("{\"timestamp\":null}\n").into(),
            "null",
            Some(2),
            Some("timestamp"),
        ),
        (
            "ndjson",
            json("{\"timestamp\":\"2026\"}\n").into(),
            "RFC 3339",
            Some(2),
            Some("timestamp"),
        ),
        (
            "ndjson",
            json(&format!("{{\"timestamp\":\"{time}\",\"city\":5}}\n")).into(),
            "a string or null",
            Some(2),
            Some("city"),
        ),
        (
            "ndjson",
            json(&format!("\n{{\"timestamp\":\"{time}\",\"os\":{{}}}}\n")).into(),
            "a string or null",
            Some(3),
            Some("os"),
        ),
        (
            "ndjson",
            json(&format!("{{\"timestamp\":\"{time}\",\"is_bot\":2}}\n")).into(),
            "true, false, 0 and 1",
            Some(2),
            Some("is_bot"),
        ),
        (
            "ndjson",
            json(&format!(
                "{{\"timestamp\":\"{time}\",\"event_type\":\"x\"}}\n"
            ))
            .into(),
            "neither",
            Some(2),
            Some("event_type"),
        ),
        (
            "ndjson",
            json(&format!("{{\"timestamp\":\"{time}\",\"ip\":\"1\"}}\n")).into(),
            "\"ip\"",
            Some(2),
            None,
        ),
        (
            "ndjson",
            json(&format!(
                "{{\"timestamp\":\"{time}\",\"url\":null,\"url\":null}}\n"
            ))
            .into(),
            "twice",
            Some(2),
            None,
        ),
        (
            "ndjson",
            json(&format!(
                "{{\"timestamp\":\"{time}\",\"event_data\":{{\"a\":}}}}\n"
            ))
            .into(),
            "not a JSON object",
            Some(2),
            Some("event_data"),
        ),
        (
            "ndjson",
            json(&format!("{{\"timestamp\":\"{time}\"\n")).into(),
            "not a JSON object",
            Some(2),
            None,
        ),
        (
            "ndjson",
            json(&format!("{{\"timestamp\":\"{time}\"}} {{}}\n")).into(),
            "not a JSON object",
            Some(2),
            None,
        ),
        ("ndjson", json("17\n").into(), "an object", Some(2), None),
        (
            "ndjson",
            [json("{\"url\":\"").as_bytes(), b"\xff\"}\n"].concat(),
            "not a JSON object",
            Some(2),
            Some("url"),
        ),
        (
            "json",
            format!("[{{\"timestamp\":\"{time}\"}},\n\n{{\"timestamp\":\n5}}]").into(),
            "integer `5`",
            Some(4),
            Some("timestamp"),
        ),
        (
            "json",
            format!("[{{\"timestamp\":\"{time}\"}},\n]").into(),
            "object should follow the comma",
            Some(2),
            None,
        ),
        (
            "json",
            format!("[{{\"timestamp\":\"{time}\"}}\n{{\"timestamp\":\"{time}\"}}]").into(),
            "commas between",
            Some(2),
            None,
        ),
        (
            "json",
            format!("[{{\"timestamp\":\"{time}\"}}\n").into(),
            "does not end",
            Some(2),
            None,
        ),
        (
            "json",
            format!("[\n{{\"timestamp\":\"{time}\"").into(),
            "does not end",
            Some(2),
            None,
        ),
        ("json", "[]\n[]".into(), "follows the array", Some(2), None),
        ("json", "[1]".into(), "array of objects", Some(1), None),
        (
            "parquet",
            b"PAR1 and so on".to_vec(),
            "not a whole Parquet file",
            None,
            None,
        ),
    ];
    for (format, content, says, line, column) in cases {
        let shown = String::from_utf8_lossy(&content).into_owned();
        let error = bench
            .load(&format!("bad.{format}"), content)
            .await
            .expect_err(&shown);
        assert_eq!(error.kind(), ErrorKind::Data, "{shown}: {error}");
        assert!(error.to_string().contains(says), "{shown:?}: {error}");
        let place = error.position().unwrap_or_default();
        assert_eq!(
            (place.line, place.column),
            (line, column),
            "{shown:?}: {error}"
        );
    }
    assert_eq!(bench.number("SELECT count() FROM events").await, 0);
    assert_eq!(bench.number("SELECT count() FROM loads").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_without_an_end_does_not_fill_the_memory() {
    let bench = Bench::new().await;
    let mut csv = b"timestamp,url\n2026-03-03T00:00:00Z,/\n2026-03-03T00:00:00Z,\"".to_vec();
    csv.resize(40 << 20, b'x');
    let error = bench.load("a.csv", csv).await.expect_err("too long");
    assert!(
        error.to_string().contains("line 3") && error.message().contains("32 MiB"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_websites_and_tables_that_cannot_be_are_refused_with_the_remedy() {
    let bench = Bench::new().await;
    let csv = "timestamp\n2026-03-03T00:00:00Z\n";
    let good = bench.file("a.csv", csv);
    let refused = async |change: &dyn Fn(&mut LoadRequest, &mut Config), says: &str| {
        let (mut request, mut config) = (bench.request(good.clone()), bench.config.clone());
        change(&mut request, &mut config);
        let error = rowspout::load::load(&config, request)
            .await
            .expect_err(says);
        assert!(error.message().contains(says), "{error}");
    };
    refused(
        &|request, _| request.file = bench.folder.path().join("none.csv"),
        "none.csv",
    )
    .await;
    refused(
        &|request, _| request.file = bench.file("events.txt", csv),
        "--format",
    )
    .await;
    refused(
        &|request, _| request.file = bench.folder.path().to_owned(),
        "",
    )
    .await;
    let site = WebsiteId::parse("site_nowhere").expect("an id");
    refused(
        &|request, _| request.site = site.clone(),
        "rowspout site add site_nowhere",
    )
    .await;
    refused(
        &|_, config| config.events_table = "nowhere".into(),
        "schema apply",
    )
    .await;
    bench
        .execute("CREATE VIEW readable AS SELECT * FROM events")
        .await;
    refused(
        &|_, config| config.events_table = "readable".into(),
        "is a view",
    )
    .await;
    bench.execute("CREATE TABLE other AS events").await;
    // ClickHouse keeps the types that it hashes.
    bench
        .execute("ALTER TABLE other DROP PROJECTION quarter_hours")
        .await;
    bench
        .execute("ALTER TABLE other MODIFY COLUMN city Nullable(String)")
        .await;
    refused(&|_, config| config.events_table = "other".into(), "city").await;
    assert_eq!(bench.number("SELECT count() FROM events").await, 0);
    let mut request = bench.request(bench.file("events.txt", csv));
    request.format = Some(rowspout::request::Format::Csv);
    rowspout::load::load(&bench.config, request)
        .await
        .expect("its format was named");
}
