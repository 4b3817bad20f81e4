//! The same rows from every format, and the types that Parquet may have.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, NullArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, TimestampNanosecondArray, UInt8Array,
};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use parquet::arrow::ArrowWriter;
use rowspout::request::WebsiteId;

use super::Bench;

#[tokio::test(flavor = "multi_thread")]
async fn every_format_gives_the_same_rows() {
    let bench = Bench::new().await;
    let site = WebsiteId::parse("site_a").expect("an id");
    rowspout::schema::make_demo_events(&bench.database.config, &site, 3_000)
        .await
        .expect("traffic");
    let expected = bench.rows().await;
    let select = "SELECT formatDateTime(timestamp, '%Y-%m-%dT%H:%i:%S.%fZ') AS timestamp, \
                  * EXCEPT (timestamp, website_id, event_id, ingested_at) FROM events ORDER BY event_id";
    let query = async |format: &str| {
        let query = bench.database.client.query_raw(select);
        query
            .fetch_bytes(format)
            .expect("a cursor")
            .collect()
            .await
            .expect("a file")
    };
    let csv = query("CSVWithNames").await;
    let events: Vec<serde_json::Map<_, _>> = query("JSONEachRow")
        .await
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("an object"))
        .collect();
    assert_eq!(events.len(), 3_000);
    let objects: Vec<String> = events.iter().map(with_json_event_data).collect();
    let files = [
        ("a.csv", csv.to_vec()),
        ("a.ndjson", objects.join("\n").into()),
        ("a.json", format!("[{}]", objects.join("\n ,")).into()),
        ("a.parquet", parquet_file(&events)),
    ];
    for (name, content) in files {
        bench.execute("TRUNCATE TABLE events").await;
        assert_eq!(bench.load(name, &content).await.expect(name).rows, 3_000);
        let rows = bench.rows().await;
        assert_eq!(rows.len(), expected.len());
        for (row, expected) in rows.iter().zip(&expected) {
            assert_eq!(row, expected, "{name}");
        }
    }
}

/// An event as an export writes it: its data as JSON, not as a string.
fn with_json_event_data(event: &serde_json::Map<String, serde_json::Value>) -> String {
    let mut event = event.clone();
    let data = event.remove("event_data").expect("event_data");
    let data = data
        .as_str()
        .filter(|data| !data.is_empty())
        .unwrap_or("null");
    let rest = serde_json::to_string(&event).expect("JSON");
    format!("{{\"event_data\": {data} ,{}", &rest[1..])
}

/// The events with every type that writers give such columns.
fn parquet_file(events: &[serde_json::Map<String, serde_json::Value>]) -> Vec<u8> {
    let texts = |name: &str| -> Vec<Option<String>> {
        let texts = events
            .iter()
            .map(|event| event[name].as_str().expect("a string"));
        texts
            .map(|text| (!text.is_empty()).then(|| text.to_owned()))
            .collect()
    };
    let instants = events.iter().map(|event| {
        let text = event["timestamp"].as_str().expect("a time");
        let time = chrono::DateTime::parse_from_rfc3339(text).expect("RFC 3339");
        time.timestamp_nanos_opt().expect("in range")
    });
    let instants =
        TimestampNanosecondArray::from_iter_values(instants).with_timezone("Europe/Berlin");
    let mut columns: Vec<(&str, ArrayRef)> = vec![("timestamp", Arc::new(instants))];
    for name in events[0]
        .keys()
        .filter(|name| *name != "timestamp" && *name != "is_bot")
    {
        let utf8: ArrayRef = Arc::new(StringArray::from(texts(name)));
        let other = match name.as_str() {
            "url" => DataType::LargeUtf8,
            "referrer" => DataType::Binary,
            "city" => DataType::Utf8View,
            "session_id" => DataType::LargeBinary,
            "browser" | "event_type" => {
                DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
            }
            _ => DataType::Utf8,
        };
        columns.push((name, cast(&utf8, &other).expect("another type")));
    }
    let flags = events
        .iter()
        .map(|event| event["is_bot"].as_bool().expect("a flag"));
    columns.push(("is_bot", Arc::new(BooleanArray::from_iter(flags.map(Some)))));
    write_parquet(columns)
}

fn write_parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let columns = columns.into_iter().map(|(name, array)| (name, array, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).expect("columns of one length");
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
    file
}

/// Columns, what the error says, its row, its column.
type Case = (Columns, &'static str, Option<u64>, Option<&'static str>);
type Columns = Vec<(&'static str, ArrayRef)>;

#[tokio::test(flavor = "multi_thread")]
async fn parquet_types_are_taken_where_their_meaning_is_sure() {
    let bench = Bench::new().await;
    let utc =
        |array: TimestampMicrosecondArray| -> ArrayRef { Arc::new(array.with_timezone("UTC")) };
    let good = || utc(TimestampMicrosecondArray::from(vec![0, 1_000]));
    let text = |values: [&str; 2]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
    let refused: Vec<Case> = vec![
        (
            vec![(
                "timestamp",
                Arc::new(TimestampMicrosecondArray::from(vec![0, 0])),
            )],
            "no zone",
            None,
            Some("timestamp"),
        ),
        (
            vec![("timestamp", Arc::new(Int64Array::from(vec![0, 0])))],
            "Int64",
            None,
            Some("timestamp"),
        ),
        (
            vec![(
                "timestamp",
                utc(TimestampMicrosecondArray::from(vec![0, 1])),
            )],
            "finer",
            Some(2),
            Some("timestamp"),
        ),
        (
            vec![(
                "timestamp",
                utc(TimestampMicrosecondArray::from(vec![Some(0), None])),
            )],
            "null",
            Some(2),
            Some("timestamp"),
        ),
        (
            vec![(
                "timestamp",
                utc(TimestampMicrosecondArray::from(vec![
                    i64::MAX / 1_000 * 1_000,
                    0,
                ])),
            )],
            "2299",
            Some(1),
            Some("timestamp"),
        ),
        (
            vec![
                ("timestamp", good()),
                ("city", Arc::new(Int64Array::from(vec![1, 2]))),
            ],
            "Int64",
            None,
            Some("city"),
        ),
        (
            vec![
                ("timestamp", good()),
                ("event_type", text(["event", "click"])),
            ],
            "neither",
            Some(2),
            Some("event_type"),
        ),
        (
            vec![
                ("timestamp", good()),
                ("is_bot", Arc::new(Int64Array::from(vec![1, 2]))),
            ],
            "0 nor 1",
            Some(2),
            Some("is_bot"),
        ),
        (
            vec![("timestamp", good()), ("ip", text(["", ""]))],
            "\"ip\"",
            None,
            None,
        ),
        (
            vec![("url", text(["", ""]))],
            "no column timestamp",
            None,
            None,
        ),
    ];
    for (columns, says, row, column) in refused {
        let error = bench
            .load("bad.parquet", write_parquet(columns))
            .await
            .expect_err(says);
        assert!(error.to_string().contains(says), "{error}");
        let place = error.position().unwrap_or_default();
        assert_eq!((place.row, place.column), (row, column), "{error}");
    }
    let mut cut = write_parquet(vec![("timestamp", good())]);
    cut.truncate(cut.len() - 1);
    assert!(bench.load("cut.parquet", cut).await.is_err());
    assert_eq!(bench.number("SELECT count() FROM loads").await, 0);

    let flags: ArrayRef = Arc::new(UInt8Array::from(vec![1, 0]));
    let nothing: ArrayRef = Arc::new(NullArray::new(2));
    let times = text(["1970-01-01T01:00:00+01:00", "1970-01-01T00:00:00.001Z"]);
    let file = write_parquet(vec![
        ("is_bot", flags),
        ("url", nothing),
        ("timestamp", times),
    ]);
    bench.load("a.parquet", file).await.expect("loaded");
    assert_eq!(
        bench
            .number("SELECT count() FROM events WHERE is_bot = (timestamp = 0) AND url = ''")
            .await,
        2
    );
}
