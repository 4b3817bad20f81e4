//! The values that plain SQL finds, and those that others' readers find in a file, in one form.

use bytes::Bytes;
use rowspout::pushdown::columns::{COLUMNS, TEXT_COLUMNS};
use serde_json::Value;

use crate::support::TestDatabase;
use crate::support::parquet;

/// A cell: `null` where it is absent, the instant in milliseconds, any JSON of `event_data`, else the text.
pub(super) type Cells = Vec<Vec<Value>>;

/// What `SELECT … WHERE website_id = {site} AND {condition}` finds, in the order of the key.
pub(super) async fn by_sql(
    database: &TestDatabase,
    site: &str,
    fields: &[&str],
    condition: &str,
) -> Cells {
    let texts: Vec<_> = TEXT_COLUMNS
        .iter()
        .map(|column| format!("toString({column})"))
        .collect();
    let sql = format!(
        "SELECT toUnixTimestamp64Milli(timestamp) AS at, toString(event_type) AS kind, [{}] AS texts FROM events \
         WHERE website_id = '{site}' AND ({condition}) ORDER BY timestamp, event_id",
        texts.join(", ")
    );
    let rows = database.client.query_raw(&sql).fetch_all::<Found>().await;
    let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let row = |row: Found| {
        let cell = |field: &&str| match place(field) {
            0 => row.at.into(),
            1 => row.kind.clone().into(),
            place => cell(field, &row.texts[place - 2]),
        };
        fields.iter().map(cell).collect()
    };
    rows.into_iter().map(row).collect()
}

#[derive(clickhouse::Row, serde::Deserialize)]
struct Found {
    at: i64,
    kind: String,
    texts: Vec<String>,
}

fn place(field: &str) -> usize {
    let place = COLUMNS.iter().position(|column| *column == field);
    place.expect("a column")
}

/// A text as a cell.
fn cell(field: &str, text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    match field {
        "timestamp" => chrono::DateTime::parse_from_rfc3339(text)
            .expect("RFC 3339")
            .timestamp_millis()
            .into(),
        "event_data" => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        _ => text.into(),
    }
}

/// What a file holds, whose columns must be these in this order.
pub(super) fn of_file(format: &str, file: &Bytes, fields: &[&str]) -> Cells {
    match format {
        "csv" => of_csv(file, fields),
        "json" => {
            let rows: Vec<Box<serde_json::value::RawValue>> =
                serde_json::from_slice(file).expect("JSON");
            rows.iter()
                .map(|row| of_object(row.get(), fields))
                .collect()
        }
        "ndjson" => {
            let text = std::str::from_utf8(file).expect("UTF-8");
            text.lines().map(|line| of_object(line, fields)).collect()
        }
        "parquet" => of_cells(parquet::cells(file.clone()), fields),
        "arrow" => of_cells(parquet::cells_of_stream(file), fields),
        other => panic!("no reader of {other}"),
    }
}

fn of_csv(file: &[u8], fields: &[&str]) -> Cells {
    let mut reader = csv::Reader::from_reader(file);
    let header = reader.headers().expect("a header");
    assert_eq!(header.iter().collect::<Vec<_>>(), fields);
    let row = |row: csv::Result<csv::StringRecord>| {
        let row = row.expect("a record");
        fields
            .iter()
            .zip(&row)
            .map(|(field, text)| cell(field, text))
            .collect()
    };
    reader.records().map(row).collect()
}

/// The keys of an object in their order: serde_json's own map sorts them.
fn keys(object: &str) -> Vec<String> {
    struct Keys(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Keys {
        fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Keys;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Keys, A::Error> {
                    let mut keys = Vec::new();
                    while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                        keys.push(key);
                    }
                    Ok(Keys(keys))
                }
            }
            from.deserialize_map(Visitor)
        }
    }
    serde_json::from_str::<Keys>(object).expect("an object").0
}

fn of_object(object: &str, fields: &[&str]) -> Vec<Value> {
    assert_eq!(keys(object), fields);
    let object: Value = serde_json::from_str(object).expect("JSON");
    let value = |field: &&str| match (&object[*field], *field) {
        (Value::String(text), "timestamp") => cell(field, text),
        (value, _) => value.clone(),
    };
    fields.iter().map(value).collect()
}

fn of_cells((names, rows): (Vec<String>, Vec<Vec<parquet::Cell>>), fields: &[&str]) -> Cells {
    assert_eq!(names, fields);
    let row = |row: Vec<parquet::Cell>| {
        let value = |(field, value): (&&str, parquet::Cell)| match value {
            parquet::Cell::Null => Value::Null,
            parquet::Cell::Microseconds(time) => (time / 1_000).into(),
            parquet::Cell::Text(text) => {
                assert!(!text.is_empty(), "an absent text is null");
                cell(field, &text)
            }
        };
        fields.iter().zip(row).map(value).collect()
    };
    rows.into_iter().map(row).collect()
}
