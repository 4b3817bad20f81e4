//! `format=arrow`: streams that Arrow's own reader takes.

use arrow::datatypes::{DataType, TimeUnit};
use arrow::ipc::reader::StreamReader;
use rowspout::decode::Wire;
use rowspout::pushdown::columns::COLUMNS;

use super::oracle::{by_sql, of_file};
use super::{DAYS, real_traffic};
use crate::support::command::rowspout;
use crate::support::insert::{self, Event, database};
use crate::support::service::{TestService, config};

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_says_what_it_is_and_is_the_same_over_each_wire_and_by_the_command() {
    let Some(database) = real_traffic().await else {
        return;
    };
    let expected = by_sql(&database, "site_a", &COLUMNS, "1").await;
    let query = format!("{DAYS}&format=arrow&timezone=Europe/Berlin");
    let mut files = Vec::new();
    for wire in [Wire::RowBinary, Wire::Native] {
        let mut settings = config(&database.config);
        settings.wire = wire;
        let service = TestService::start_with(settings).await;
        let answer = service.export("site_a", &query).await;
        assert_eq!(
            answer.headers["content-type"],
            "application/vnd.apache.arrow.stream"
        );
        assert_eq!(
            answer.headers["content-disposition"],
            "attachment; filename=\"events_site_a_2015-05-17_2015-05-20.arrows\""
        );
        files.push(answer.body.expect("whole"));
    }
    assert!(files[0] == files[1]);
    assert!(of_file("arrow", &files[0], &COLUMNS) == expected);
    let reader = StreamReader::try_new(&files[0][..], None).expect("a stream");
    let schema = reader.schema();
    let zone = Some("Europe/Berlin".into());
    assert_eq!(
        *schema.field(0).data_type(),
        DataType::Timestamp(TimeUnit::Microsecond, zone)
    );
    assert!(
        schema.fields()[1..]
            .iter()
            .all(|field| *field.data_type() == DataType::Utf8)
    );
    assert_eq!(schema.metadata()["export.site"], "site_a");
    assert_eq!(schema.metadata()["export.start"], "2015-05-17");
    let batches: Vec<usize> = reader
        .map(|batch| batch.expect("a batch").num_rows())
        .collect();
    assert_eq!(batches, [8_192, 1_808]);

    // The extension names the format, and the receipt's rows are the stream's.
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let mut command = rowspout(&database.config);
        command
            .current_dir(folder.path())
            .args(arguments)
            .output()
            .expect("rowspout runs")
    };
    let export = [
        "export",
        "--site",
        "site_a",
        "--start",
        "2015-05-17",
        "--end",
        "2015-05-20",
        "--include-bots",
    ];
    let rest = [
        "--timezone",
        "Europe/Berlin",
        "-o",
        "events.arrows",
        "--receipt",
        "receipt.json",
    ];
    let output = run(&[&export[..], &rest].concat());
    assert!(output.status.success(), "{output:?}");
    assert!(std::fs::read(folder.path().join("events.arrows")).expect("a file") == files[0]);
    let verified = run(&["verify", "events.arrows", "receipt.json"]);
    assert!(verified.status.success(), "{verified:?}");
    let other = run(&[&export[..], &["-o", "events.arrow"]].concat());
    assert_eq!(other.status.code(), Some(2), "{other:?}");
    assert!(
        String::from_utf8_lossy(&other.stderr).contains(".arrows"),
        "{other:?}"
    );
    let loaded = run(&["load", "events.arrows", "--site", "site_a"]);
    assert_eq!(loaded.status.code(), Some(2), "{loaded:?}");
    assert!(
        String::from_utf8_lossy(&loaded.stderr).contains("parquet"),
        "{loaded:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_stream_has_its_columns_and_large_texts_make_small_batches() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let text = vec![b'x'; 3 << 20];
    let events: Vec<_> = (0..7u64)
        .map(|id| Event::at(1_772_532_900_000, id).with("url", text.clone()))
        .chain([Event::at(1_772_532_900_001, 0).with("city", b"\xff".to_vec())])
        .collect();
    insert::events(&database, "site_a", &events).await;
    let service = TestService::start(&database.config).await;
    let day = "start_date=2026-03-03&end_date=2026-03-03&format=arrow";
    let file = service.export("site_a", day).await.body.expect("whole");
    let reader = StreamReader::try_new(&file[..], None).expect("a stream");
    let batches: Vec<usize> = reader
        .map(|batch| batch.expect("a batch").num_rows())
        .collect();
    assert_eq!(batches, [3, 3, 2]);
    let rows = of_file("arrow", &file, &COLUMNS);
    assert_eq!(rows[7][9], serde_json::json!("\u{fffd}"));
    let empty = service
        .export("site_a", &format!("{day}&event_type=event&fields=os,url"))
        .await;
    let empty = empty.body.expect("whole");
    assert!(of_file("arrow", &empty, &["os", "url"]).is_empty());
}
