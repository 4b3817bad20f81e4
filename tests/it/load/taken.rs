//! What files may look like, and what their rows become.

use std::path::PathBuf;

use super::Bench;

#[tokio::test(flavor = "multi_thread")]
async fn columns_come_in_any_order_and_missing_ones_take_the_tables_defaults() {
    let bench = Bench::new().await;
    let csv = "url,timestamp\n/a,2026-03-03T10:15:00.25+01:00\n\"/b,\"\"c\"\"\nd\",2026-03-03 09:15:00.250Z\n";
    assert_eq!(bench.load("a.csv", csv).await.expect("loaded").rows, 2);
    assert_eq!(
        bench.rows().await,
        [
            "('2026-03-03 09:15:00.250','pageview','/a','','','','','','','','','','','','','','',false)",
            "('2026-03-03 09:15:00.250','pageview','/b,\"c\"\\nd','','','','','','','','','','','','','','',false)",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_of_other_programs_is_read_as_they_mean_it() {
    let bench = Bench::new().await;
    let csv = "\u{feff}\"timestamp\",is_bot,event_type,city\r\n2026-03-03T00:00:00Z,True,event,Köln\r\n\r\n\
               \"2026-03-03T00:00:01Z\",0,pageview,\"\"\r\n2026-03-03T00:00:02Z,1,pageview,last";
    bench.load("a.csv", csv).await.expect("loaded");
    // Bytes that are not UTF-8 are stored as they stand.
    let latin = b"timestamp,city\n2026-03-03T00:00:03Z,K\xf6ln\n";
    bench.load("b.csv", latin).await.expect("loaded");
    let query = bench.database.client.query_raw(
        "SELECT hex(city), toUInt16(toUInt8(event_type) + 10 * is_bot) FROM events ORDER BY timestamp",
    );
    let rows = query.fetch_all::<(String, u16)>().await.expect("rows");
    let expected = [
        ("4BC3B66C6E", 12),
        ("", 1),
        ("6C617374", 11),
        ("4BF66C6E", 1),
    ];
    assert_eq!(rows, expected.map(|(city, flags)| (city.to_owned(), flags)));
}

#[tokio::test(flavor = "multi_thread")]
async fn event_data_keeps_its_text_and_null_is_absent() {
    let bench = Bench::new().await;
    let ndjson = concat!(
        "\n{\"timestamp\":\"2026-03-03T00:00:00Z\",\"event_data\":{\"b\" : 1e400, \"a\":[12345678901234567890,null,\"\\u00e9\"]},",
        "\"url\":\"\\u00fc\\n\\\"\",\"city\":null,\"is_bot\":true}\n  \n",
        "{\"event_data\":\"a \\\"string\\\"\",\"is_bot\":1,\"event_type\":\"event\",\"timestamp\":\"2026-03-03T00:00:01Z\"}\r\n",
        "{\"event_data\":null,\"timestamp\":\"2026-03-03T00:00:02Z\"}",
    );
    bench.load("a.ndjson", ndjson).await.expect("loaded");
    let query = bench
        .database
        .client
        .query_raw("SELECT event_data, url, is_bot FROM events ORDER BY timestamp");
    let rows = query
        .fetch_all::<(String, String, bool)>()
        .await
        .expect("rows");
    let row = |data: &str, url: &str, bot| (data.to_owned(), url.to_owned(), bot);
    assert_eq!(
        rows,
        [
            row(
                "{\"b\" : 1e400, \"a\":[12345678901234567890,null,\"\\u00e9\"]}",
                "ü\n\"",
                true
            ),
            row("\"a \\\"string\\\"\"", "", true),
            row("", "", false),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_without_rows_loads_nothing_and_can_be_loaded_again() {
    let bench = Bench::new().await;
    for (name, content) in [
        ("a.csv", ""),
        ("b.csv", "timestamp,url\n"),
        ("c.json", "[]"),
        ("d.json", " [ \n]\n"),
        ("e.ndjson", ""),
        ("f.jsonl", "\n \n"),
    ] {
        for _ in 0..2 {
            let loaded = bench.load(name, content).await.expect(name);
            assert_eq!((loaded.rows, loaded.there_before), (0, 0), "{name}");
        }
    }
    assert_eq!(bench.number("SELECT count() FROM loads").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_order_is_kept_among_equal_times_over_several_loads() {
    let bench = Bench::new().await;
    for file in 0..3 {
        let rows: String = (0..1_000)
            .map(|row| {
                format!(
                    "{}.csv,2026-03-03T00:00:0{}Z\n",
                    file * 1_000 + (row * 7_919) % 1_000,
                    row % 2
                )
            })
            .collect();
        bench
            .load(&format!("{file}.csv"), format!("url,timestamp\n{rows}"))
            .await
            .expect("loaded");
    }
    let query = bench
        .database
        .client
        .query_raw("SELECT url FROM events ORDER BY website_id, timestamp, event_id");
    let urls = query.fetch_all::<String>().await.expect("urls");
    let expected: Vec<_> = (0..2)
        .flat_map(|second| (0..3).map(move |file| (second, file)))
        .flat_map(|(second, file)| {
            (0..1_000)
                .filter(move |row| row % 2 == second)
                .map(move |row| format!("{}.csv", file * 1_000 + (row * 7_919) % 1_000))
        })
        .collect();
    assert_eq!(urls, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_over_any_number_of_months_and_the_tables_first_and_last_instant_load() {
    let bench = Bench::new().await;
    let mut csv = String::from("timestamp\n1900-01-01T00:00:00Z\n2299-12-31T23:59:59.999Z\n");
    for month in 0..150 {
        csv.push_str(&format!(
            "{}-{:02}-01T00:00:00.001Z\n",
            2010 + month / 12,
            month % 12 + 1
        ));
    }
    bench.load("a.csv", csv).await.expect("loaded");
    assert_eq!(
        bench
            .number("SELECT uniqExact(toYYYYMM(timestamp)) FROM events")
            .await,
        152
    );
    let ends = "SELECT toUInt64(min(toUnixTimestamp64Milli(timestamp)) = -2208988800000 \
                AND max(toUnixTimestamp64Milli(timestamp)) = 10413791999999) FROM events";
    assert_eq!(bench.number(ends).await, 1);
}

/// Ten thousand events of a real website, where they are at hand: beside the repository, not in it.
#[tokio::test(flavor = "multi_thread")]
async fn real_traffic_is_in_the_table_as_it_is_in_the_file() {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/semicomplete-events.csv");
    let Ok(content) = std::fs::read(&path) else {
        println!("left out: the real traffic is not at ../shared/data");
        return;
    };
    let bench = Bench::new().await;
    let loaded = bench
        .load("semicomplete-events.csv", &content)
        .await
        .expect("loaded");
    assert_eq!(loaded.rows, 10_000);
    assert_eq!(
        bench.number("SELECT countIf(is_bot) FROM events").await,
        2_584
    );
    assert_eq!(
        bench
            .number("SELECT countIf(event_type = 'pageview') FROM events")
            .await,
        3_824
    );
    let columns = "SELECT [formatDateTime(timestamp, '%Y-%m-%dT%H:%i:%SZ'), toString(event_type), url, event_name, event_data, \
                   visitor_id, session_id, country, region, city, browser, os, device, referrer, utm_source, utm_medium, \
                   utm_campaign, toString(toUInt8(is_bot))] FROM events ORDER BY website_id, timestamp, event_id";
    let rows = bench
        .database
        .client
        .query_raw(columns)
        .fetch_all::<Vec<String>>()
        .await
        .expect("rows");
    let mut reader = csv::Reader::from_reader(content.as_slice());
    let mut records = 0;
    for (record, row) in reader.records().zip(&rows) {
        assert_eq!(record.expect("a record").iter().collect::<Vec<_>>(), *row);
        records += 1;
    }
    assert_eq!(records, 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_one_line_and_its_exit_code() {
    let bench = Bench::new().await;
    let run = |file: &PathBuf, site: &str| {
        let mut command = bench.command(file, site);
        let output = command.output().expect("rowspout runs");
        assert!(output.stdout.is_empty());
        (
            output.status.code(),
            String::from_utf8(output.stderr).expect("UTF-8"),
        )
    };
    let good = bench.file("a.csv", "timestamp\n2026-03-03T00:00:00Z\n");
    let (code, said) = run(&good, "site_a");
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.starts_with("loaded 1 rows into site_a in ") && said.lines().count() == 1,
        "{said:?}"
    );
    let (code, said) = run(&good, "site_a");
    assert_eq!(code, Some(1));
    assert!(
        said.contains("--again") && said.lines().count() == 1,
        "{said:?}"
    );
    let (code, said) = run(&bench.file("b.csv", "timestamp\nyesterday\n"), "site_a");
    assert_eq!(code, Some(1));
    assert!(
        said.contains("line 2, column timestamp: \"yesterday\"") && said.lines().count() == 1,
        "{said:?}"
    );
    assert_eq!(run(&bench.file("c.txt", ""), "site_a").0, Some(2));
    assert_eq!(run(&good, "a").0, Some(2));
}
