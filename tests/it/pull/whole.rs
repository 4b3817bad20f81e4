//! What is pulled is what an unbroken export has.

use super::*;
use crate::support::parquet;
use crate::support::service::config;

/// Parts of some hundred rows, so that days have several.
const SMALL: [&str; 2] = ["--part-rows", "300"];

#[tokio::test(flavor = "multi_thread")]
async fn a_pulled_folder_is_the_unbroken_export_in_every_format() {
    let database = traffic(60_000).await;
    let service = TestService::start(&database.config).await;
    for (format, options) in [
        ("ndjson", vec!["--timezone", "America/St_Johns"]),
        (
            "csv",
            vec![
                "--timezone",
                "Asia/Kathmandu",
                "--fields",
                "url,timestamp,city",
            ],
        ),
        ("parquet", vec!["--include-bots", "--compression", "snappy"]),
        (
            "json",
            vec!["--event-type", "event", "--event-data", "string"],
        ),
        ("arrow", vec![]),
    ] {
        let (_kept, folder) = place();
        let mut arguments = [&WEEK[..], &SMALL, &["--format", format]].concat();
        arguments.extend(&options);
        let said = pulled(&service, &folder, &arguments).await;
        assert!(said.contains("is complete"), "{said}");
        let mut query = format!("{WEEK_QUERY}&format={format}");
        for option in options {
            match option.strip_prefix("--") {
                Some("include-bots") => query.push_str("&include_bots=true"),
                Some(name) => query.push_str(&format!("&{}=", name.replace('-', "_"))),
                None => query.push_str(option),
            }
        }
        let whole = export(&service, &query).await;
        let parts = told_parts(&folder);
        let fewest = if format == "json" { 7 } else { 15 };
        assert!(parts.len() >= fewest, "{:?}", parts.keys());
        let days: std::collections::BTreeSet<_> = parts.keys().map(|name| &name[..15]).collect();
        let expected: Vec<_> = (1..=7).map(|day| format!("date=2026-02-0{day}")).collect();
        assert!(days.into_iter().eq(expected.iter()), "{:?}", parts.keys());
        assert!(parts.keys().all(|name| name.ends_with(match format {
            "arrow" => ".arrows",
            other => other,
        })));
        // In the order of their names.
        match format {
            "ndjson" => assert_eq!(parts.into_values().collect::<Vec<_>>().concat(), whole),
            "csv" => {
                let mut joined = Vec::new();
                for (number, part) in parts.into_values().enumerate() {
                    let header = lines(&part)[0].len();
                    joined.extend_from_slice(&part[if number == 0 { 0 } else { header }..]);
                }
                assert_eq!(joined, whole);
            }
            "json" => {
                let read =
                    |bytes: &[u8]| serde_json::from_slice::<Vec<Value>>(bytes).expect("JSON");
                let joined: Vec<_> = parts.values().flat_map(|part| read(part)).collect();
                assert_eq!(joined, read(&whole));
            }
            "parquet" => {
                let joined: Vec<_> = parts
                    .into_values()
                    .flat_map(|part| parquet::rows(part.into()))
                    .collect();
                assert_eq!(joined, parquet::rows(whole.into()));
            }
            _ => {
                let cells = |bytes: &[u8]| format!("{:?}", parquet::cells_of_stream(bytes).1);
                let joined: Vec<_> = parts
                    .values()
                    .flat_map(|part| parquet::cells_of_stream(part).1)
                    .collect();
                assert_eq!(format!("{joined:?}"), cells(&whole));
            }
        }
        let manifest = manifest(&folder).expect("a manifest");
        assert_eq!(manifest["version"], 1);
        assert_eq!(manifest["request"]["website"], SITE);
        assert_eq!(manifest["window"]["start_date"], "2026-02-01");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joined_file_is_the_unbroken_export_byte_for_byte() {
    let database = traffic(60_000).await;
    let service = TestService::start(&database.config).await;
    let empty = (
        "--start=2020-01-01 --end=2020-01-03",
        "start_date=2020-01-01&end_date=2020-01-03",
    );
    let week = ("--start=2026-02-01 --end=2026-02-07", WEEK_QUERY);
    // A day without rows at each end.
    let edges = (
        "--start=2025-12-31 --end=2026-01-02",
        "start_date=2025-12-31&end_date=2026-01-02",
    );
    let instants = (
        "--from=2026-02-01T10:01:02.5Z --to=2026-02-03T00:00:00Z",
        "from=2026-02-01T10:01:02.5Z&to=2026-02-03T00:00:00Z",
    );
    for (format, options, query) in [
        ("csv", "", ""),
        (
            "csv",
            "--spreadsheet --timezone=Asia/Kolkata",
            "&spreadsheet=true&timezone=Asia/Kolkata",
        ),
        ("json", "", ""),
        ("json", "--fields=url", "&fields=url"),
        (
            "ndjson",
            "--country=DE --data=plan=pro",
            "&country=DE&data.plan=pro",
        ),
    ] {
        for (window, window_query) in [week, edges, empty, instants] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join(format!("events.{format}"));
            let arguments: Vec<_> = window
                .split(' ')
                .chain(options.split_whitespace())
                .collect();
            let arguments = [&arguments[..], &SMALL, &["--join"]].concat();
            pulled(&service, &file, &arguments).await;
            let whole = export(&service, &format!("{window_query}&format={format}{query}")).await;
            let files = files(folder.path());
            let name = format!("events.{format}");
            assert_eq!(files[&name], whole, "{format} {window} {options}");
            let told = format!("{name}.manifest.json");
            assert_eq!(files.keys().collect::<Vec<_>>(), [&name, &told]);
            let manifest: Value = serde_json::from_slice(&files[&told]).unwrap();
            assert_eq!(manifest["files"][0]["sha256"], hex(&Sha256::digest(&whole)));
            // Nothing of the work is left.
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_takes_one_export_at_a_time_is_waited_for() {
    let database = traffic(20_000).await;
    let mut settings = config(&database.config);
    settings.max_exports_per_key = 1;
    let service = TestService::start_with(settings).await;
    let (_kept, folder) = place();
    let arguments = [
        &WEEK[..],
        &["--parallel", "2", "--format", "ndjson", "--retries", "50"],
    ]
    .concat();
    pulled(&service, &folder, &arguments).await;
    let whole = export(&service, &format!("{WEEK_QUERY}&format=ndjson")).await;
    assert_eq!(
        told_parts(&folder)
            .into_values()
            .collect::<Vec<_>>()
            .concat(),
        whole
    );
}
