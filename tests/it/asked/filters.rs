//! Filters by columns and by keys of `event_data`.

use rowspout::pushdown::columns::COLUMNS;
use rowspout::request::FILTERS;
use serde_json::Value;

use super::oracle::{Cells, by_sql, of_file};
use super::{DAYS, FORMATS, encoded, export_command, real_traffic};
use crate::support::TestDatabase;
use crate::support::insert::{self, Event, database};
use crate::support::service::{TestService, config};

const DAY: &str = "start_date=2026-03-03&end_date=2026-03-03";

/// 2026-03-03T10:15:00Z.
const NOON: i64 = 1_772_532_900_000;

/// A text as a literal of SQL.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Filters as a query.
fn query(filters: &[(&str, &str)]) -> String {
    filters
        .iter()
        .map(|(name, value)| format!("&{}={}", encoded(name), encoded(value)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_finds_of_real_traffic_what_plain_sql_finds_in_every_format() {
    let Some(database) = real_traffic().await else {
        return;
    };
    let service = TestService::start(&database.config).await;
    let mut cases: Vec<(Vec<(&str, String)>, String)> = Vec::new();
    for column in FILTERS {
        // A frequent value, a rare one, and none.
        let sql = format!(
            "SELECT toString({column}) AS text FROM events GROUP BY text HAVING text != '' ORDER BY count() DESC, text"
        );
        let values = database.client.query_raw(&sql).fetch_all::<String>().await;
        let values = values.expect("values");
        for value in values
            .first()
            .into_iter()
            .chain(values.get(7))
            .chain(values.last())
        {
            let value = value.replace('\\', "\\\\").replace('*', "\\*");
            let plain = value.replace("\\*", "*").replace("\\\\", "\\");
            let text = literal(&plain);
            cases.push((vec![(column, value.clone())], format!("{column} = {text}")));
            cases.push((
                vec![(column, format!("!{value}"))],
                format!("{column} != {text}"),
            ));
        }
        cases.push((vec![(column, String::new())], format!("{column} = ''")));
        cases.push((vec![(column, "!".into())], format!("{column} != ''")));
    }
    let of_columns = cases.len();
    let own = |pairs: &[(&'static str, &str)]| {
        pairs
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect::<Vec<_>>()
    };
    for (filters, condition) in [
        (
            own(&[("country", "DE"), ("country", "US"), ("country", "")]),
            "country IN ('DE', 'US', '')",
        ),
        (
            own(&[("country", "!DE"), ("country", "!US")]),
            "country NOT IN ('DE', 'US')",
        ),
        (
            own(&[("country", "DE"), ("country", "US"), ("country", "!US")]),
            "country = 'DE'",
        ),
        (own(&[("country", "DE"), ("country", "!DE")]), "0"),
        (own(&[("country", "DE,US")]), "0"),
        (own(&[("country", "de")]), "0"),
        (
            own(&[
                ("browser", "Firefox"),
                ("os", "!Windows"),
                ("device", "desktop"),
            ]),
            "browser = 'Firefox' AND os != 'Windows' AND device = 'desktop'",
        ),
        (
            own(&[("url", "/presentations/*")]),
            "startsWith(url, '/presentations/')",
        ),
        (
            own(&[
                ("url", "/presentations/*"),
                ("url", "/"),
                ("url", "!/presentations/logstash*"),
            ]),
            "(startsWith(url, '/presentations/') OR url = '/') AND NOT startsWith(url, '/presentations/logstash')",
        ),
        (
            own(&[("url", "!/*"), ("event_name", "!")]),
            "NOT startsWith(url, '/') AND event_name != ''",
        ),
        (
            own(&[("data.status", "404")]),
            "JSONExtractInt(event_data, 'status') = 404",
        ),
        (
            own(&[
                ("data.status", "!200"),
                ("data.method", "GET"),
                ("data.method", "HEAD"),
            ]),
            "JSONExtractInt(event_data, 'status') != 200 AND JSONExtractString(event_data, 'method') IN ('GET', 'HEAD')",
        ),
        (
            own(&[("data.path", "/reset.css"), ("event_name", "asset")]),
            "JSONExtractString(event_data, 'path') = '/reset.css' AND event_name = 'asset'",
        ),
        (
            own(&[("data.path", "")]),
            "JSONExtractString(event_data, 'path') = ''",
        ),
    ] {
        cases.push((filters, condition.to_owned()));
    }
    let mut found = 0;
    for (index, (filters, condition)) in cases.into_iter().enumerate() {
        let expected = by_sql(&database, "site_a", &COLUMNS, &condition).await;
        found += usize::from(!expected.is_empty());
        let filters: Vec<_> = filters
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        // Each column's filters take turns, so that each column meets each format.
        let turn = index % FORMATS.len();
        let formats = if index < of_columns {
            &FORMATS[turn..=turn]
        } else {
            &FORMATS[..]
        };
        for &format in formats {
            let query = format!("{DAYS}&format={format}{}", query(&filters));
            let answer = service.export("site_a", &query).await;
            assert_eq!(answer.status, 200, "{query}: {answer:?}");
            let file = answer.body.expect("whole");
            assert!(of_file(format, &file, &COLUMNS) == expected, "{query}");
        }
    }
    assert!(found > 60, "{found} filters found anything");
}

/// Texts that somebody may have chosen to break a query, or a parameter on its way.
const HOSTILE: [&str; 22] = [
    "' OR 1=1 --",
    "'; DROP TABLE events; --",
    "{site:String}",
    "\\",
    "\\'",
    "\\N",
    "\\t",
    "a\tb",
    "a\nb",
    "a\r\nb",
    "\0",
    "a\0b",
    "%27",
    "a&b=c",
    "a,b",
    "!",
    "!a",
    "*",
    "a*",
    "ü\u{1f600}",
    "\u{feff}a",
    "\u{1b}[31m",
];

/// A value as it has to be written to mean all of itself.
fn escaped(text: &str) -> String {
    text.chars()
        .flat_map(|c| "!*\\".contains(c).then_some('\\').into_iter().chain([c]))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_values_find_themselves_and_nothing_else() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let mut events = Vec::new();
    for (id, text) in HOSTILE.iter().enumerate() {
        let data = serde_json::to_string(&serde_json::json!({*text: text})).expect("JSON");
        let event = Event::at(NOON, id as u64)
            .with("url", *text)
            .with("city", *text);
        events.push(event.with("event_data", data));
    }
    insert::events(&database, "site_a", &events).await;
    let service = TestService::start(&database.config).await;
    for (place, text) in HOSTILE.iter().enumerate() {
        let (plain, member) = (escaped(text), format!("data.{text}"));
        for (name, value, expected) in [
            ("city", plain.clone(), vec![place]),
            ("url", plain.clone(), vec![place]),
            (member.as_str(), plain.clone(), vec![place]),
            (
                "city",
                format!("!{plain}"),
                (0..HOSTILE.len()).filter(|other| *other != place).collect(),
            ),
            (
                "url",
                format!("{plain}*"),
                (0..HOSTILE.len())
                    .filter(|other| HOSTILE[*other].starts_with(text))
                    .collect(),
            ),
        ] {
            let query = format!("{DAY}&format=json{}", query(&[(name, &value)]));
            let answer = service.export("site_a", &query).await;
            assert_eq!(answer.status, 200, "{query}: {answer:?}");
            let rows: Vec<Value> = serde_json::from_str(&answer.text()).expect("JSON");
            let found: Vec<_> = rows.iter().map(|row| row["url"].clone()).collect();
            let expected: Vec<_> = expected.into_iter().map(|place| HOSTILE[place]).collect();
            assert_eq!(found, expected, "{query}");
        }
    }
}

/// Documents, and whether ClickHouse reads them: what it does not has no keys.
const DOCUMENTS: [(&str, bool); 40] = [
    ("", true),
    (r#"{}"#, true),
    (r#"{"a":"x"}"#, true),
    (r#" { "a" : "x" , "b" : 1 } "#, true),
    (r#"{"a":""}"#, true),
    (r#"{"a":null}"#, true),
    (r#"{"a":42}"#, true),
    (r#"{"a":42.0}"#, true),
    (r#"{"a":4.2e1}"#, true),
    (r#"{"a":"42"}"#, true),
    (r#"{"a":42.5}"#, true),
    (r#"{"a":-0}"#, true),
    (r#"{"a":-0.0}"#, true),
    (r#"{"a":0}"#, true),
    (r#"{"a":9007199254740993}"#, true),
    (r#"{"a":9007199254740992}"#, true),
    (r#"{"a":18446744073709551615}"#, true),
    (r#"{"a":-9223372036854775808}"#, true),
    (r#"{"a":1e300}"#, true),
    (r#"{"a":0.1}"#, true),
    (r#"{"a":true}"#, true),
    (r#"{"a":false}"#, true),
    (r#"{"a":"true"}"#, true),
    (r#"{"a":"null"}"#, true),
    (r#"{"a":{"b":"x"}}"#, true),
    (r#"{"a":"{\"b\":\"x\"}"}"#, true),
    (r#"{"a":["x"]}"#, true),
    (r#"{"b":{"a":"x"}}"#, true),
    (r#"{"a.b":"x"}"#, true),
    (r#"{"A":"x"}"#, true),
    (r#"{"\u0061":"\u0078"}"#, true),
    (r#"{"a":"x\u0000"}"#, true),
    (r#"["a","x"]"#, true),
    (r#""a""#, true),
    (r#"42"#, true),
    (r#"{"a":"x"} {"a":"y"}"#, true),
    (r#"{"a":"x""#, true),
    (r#"a=x"#, true),
    (r#"{"a":"x","b":1e400}"#, true),
    (r#"{"a":18446744073709551616}"#, false),
];

/// Whether a member of a document has a value, by serde_json and the words of the documentation.
fn has(document: &str, readable: bool, key: &str, value: &str) -> bool {
    let document: Value = serde_json::from_str(document).unwrap_or(Value::Null);
    match document.get(key).filter(|_| readable) {
        None | Some(Value::Null) => value.is_empty(),
        Some(Value::String(text)) => text == value,
        Some(Value::Bool(truth)) => truth.to_string() == value,
        Some(Value::Array(_) | Value::Object(_)) => false,
        Some(Value::Number(number)) => match serde_json::from_str(value) {
            Ok(Value::Number(wanted)) if value.trim() == value => {
                let whole = |number: &serde_json::Number| {
                    let integer = number.as_i64().map(i128::from);
                    let integer = integer.or_else(|| number.as_u64().map(i128::from));
                    let double = number.as_f64().expect("a number");
                    integer.or_else(|| (double.fract() == 0.0).then_some(double as i128))
                };
                match (whole(number), whole(&wanted)) {
                    (Some(number), Some(wanted)) => number == wanted,
                    _ => number.as_f64() == wanted.as_f64(),
                }
            }
            _ => false,
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_event_data_finds_what_its_documentation_says() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let mut events = Vec::new();
    for (id, (document, _)) in DOCUMENTS.iter().enumerate() {
        let event = Event::at(NOON, id as u64).with("url", id.to_string());
        events.push(event.with("event_data", *document));
    }
    insert::events(&database, "site_a", &events).await;
    let service = TestService::start(&database.config).await;
    for key in ["a", "b", "a.b", "A", "", "0"] {
        for value in [
            "",
            "x",
            "42",
            "42.0",
            "42.50",
            "4.2e1",
            " 42",
            "0",
            "-0.0",
            "9007199254740993",
            "9007199254740992",
            "9007199254740992.0",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775808",
            "1e300",
            "0.1",
            "true",
            "false",
            "null",
            "{\"b\":\"x\"}",
            "[\"x\"]",
            "x\0",
            "1e400",
            "inf",
            "nan",
            "+1",
        ] {
            for excludes in [false, true] {
                let mark = if excludes { "!" } else { "" };
                let name = format!("data.{key}");
                let query = format!(
                    "{DAY}&format=ndjson{}",
                    query(&[(&name, &format!("{mark}{value}"))])
                );
                let answer = service.export("site_a", &query).await;
                if key.is_empty() {
                    assert_eq!(answer.status, 400);
                    continue;
                }
                let text = answer.text();
                let found: Vec<String> = text
                    .lines()
                    .map(|line| {
                        serde_json::from_str::<Value>(line).expect("JSON")["url"]
                            .as_str()
                            .expect("a url")
                            .to_owned()
                    })
                    .collect();
                let expected: Vec<String> = DOCUMENTS
                    .iter()
                    .enumerate()
                    .filter(|(_, (document, readable))| {
                        has(document, *readable, key, value) != excludes
                    })
                    .map(|(id, _)| id.to_string())
                    .collect();
                assert_eq!(found, expected, "{name}={mark}{value}");
            }
        }
    }
}

/// The same rows in a table whose texts may be NULL.
async fn with_nulls(database: &TestDatabase) -> String {
    let columns: Vec<_> = FILTERS
        .iter()
        .chain(&["event_data"])
        .map(|column| format!("nullIf(toString({column}), '') AS {column}"))
        .collect();
    let sql = format!(
        "CREATE VIEW with_nulls AS SELECT * REPLACE ({}) FROM events",
        columns.join(", ")
    );
    database
        .client
        .query_raw(&sql)
        .execute()
        .await
        .expect("a view");
    "with_nulls".to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn null_is_an_absent_value_to_filters() {
    let Some(database) = real_traffic().await else {
        return;
    };
    let mut settings = config(&database.config);
    settings.events_table = with_nulls(&database).await;
    let service = TestService::start_with(settings).await;
    for (filters, condition) in [
        (&[("country", "")][..], "country = ''"),
        (&[("country", "!")], "country != ''"),
        (
            &[("referrer", "!-"), ("country", "!US")],
            "referrer != '-' AND country != 'US'",
        ),
        (&[("url", "!/p*")], "NOT startsWith(url, '/p')"),
        (&[("data.status", "")], "event_data = ''"),
        (
            &[("data.status", "!200")],
            "JSONExtractInt(event_data, 'status') != 200",
        ),
    ] {
        let expected = by_sql(&database, "site_a", &COLUMNS, condition).await;
        let query = format!("{DAYS}{}", query(filters));
        let file = service.export("site_a", &query).await.body.expect("whole");
        assert!(of_file("csv", &file, &COLUMNS) == expected, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_filters_as_the_service_does_and_receipts_name_the_filters() {
    let Some(database) = real_traffic().await else {
        return;
    };
    let condition = "country IN ('DE', 'FR') AND browser != 'Googlebot' AND startsWith(url, '/') \
        AND JSONExtractString(event_data, 'path') = ''";
    let expected: Cells = by_sql(&database, "site_a", &COLUMNS, condition).await;
    assert!(expected.len() > 10);
    let folder = tempfile::tempdir().expect("a folder");
    let receipt = folder.path().join("receipt.json");
    let run = |arguments: &[&str]| {
        let mut command = export_command(&database, "2015-05-17", "2015-05-20");
        command.arg("--include-bots");
        command.arg("--receipt").arg(&receipt).args(arguments);
        command.output().expect("rowspout runs")
    };
    let output = run(&[
        "--country",
        "DE",
        "--country=FR",
        "--browser",
        "!Googlebot",
        "--url",
        "/*",
        "--data",
        "path=",
    ]);
    assert!(output.status.success(), "{output:?}");
    assert!(of_file("csv", &output.stdout.into(), &COLUMNS) == expected);
    let receipt = std::fs::read(&receipt).expect("a receipt");
    let receipt: Value = serde_json::from_slice(&receipt).expect("JSON");
    assert_eq!(
        receipt["filters"],
        serde_json::json!(["url", "country", "browser", "data.path"])
    );
    for (arguments, says) in [
        (&["--data", "path"][..], "KEY=VALUE"),
        (&["--data", "=x"], "no key"),
        (&["--city", "a\\"], "backslash"),
        // A value that was left out is not the next flag's name.
        (&["--city", "--country", "DE"], "--city"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(
            String::from_utf8_lossy(&output.stderr).contains(says),
            "{output:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_that_are_too_many_too_long_or_ambiguous_are_refused_by_name() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let service = TestService::start(&database.config).await;
    for (filters, field, says) in [
        ("&country=DE".repeat(101), "country", "100 values"),
        (format!("&city={}", "a".repeat(4_097)), "city", "4096 bytes"),
        (
            format!("&data.{}=x", "a".repeat(4_097)),
            &format!("data.{}…", "a".repeat(59)),
            "4096 bytes",
        ),
        ("&data.=x".to_owned(), "data.", "no key"),
        ("&url=C:%5Cx".to_owned(), "url", "backslash"),
        ("&event_data=x".to_owned(), "event_data", "event_data"),
    ] {
        let answer = service.export("site_a", &format!("{DAY}{filters}")).await;
        assert_eq!(answer.status, 400, "{filters}: {answer:?}");
        let error = answer.error();
        assert_eq!(error["field"], field);
        assert!(
            error["message"].as_str().expect("text").contains(says),
            "{error}"
        );
    }
    let most = format!("{DAY}{}", "&country=DE".repeat(100));
    assert_eq!(service.export("site_a", &most).await.status, 200);
}
