//! The embedded engine, over its HTTP interface.

use std::time::{Duration, Instant};

use clickhouse::Row;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Answer, Http, OwnEngine, clickhouse, read_answer, shared_engine};

/// Requests to the engine that tests share, with its password.
fn http() -> Http {
    http_to(shared_engine())
}

fn http_to(engine: &rowspout::engine::process::EngineProcess) -> Http {
    Http::new(
        engine.url(),
        &format!("X-ClickHouse-Key: {}\r\n", engine.password()),
    )
}

/// Encodes a value for a URL.
fn encode(value: &str) -> String {
    form_urlencoded::byte_serialize(value.as_bytes()).collect()
}

/// Waits until the engine runs no query whose text holds `part`, and says how long that took.
async fn wait_until_gone(http: &Http, part: &str) -> Duration {
    let start = Instant::now();
    let count = format!(
        "SELECT count() FROM system.processes WHERE query LIKE '%{part}%' AND query NOT LIKE '%system.processes%'"
    );
    loop {
        let answer = http.post("/", &count).await;
        if answer.text() == "0\n" {
            return start.elapsed();
        }
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{part} still runs"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn assert_exception(answer: &Answer, status: u16, code: u32) {
    assert_eq!(answer.status, status, "{answer:?}");
    let header = answer.header("x-clickhouse-exception-code");
    assert_eq!(header, Some(code.to_string().as_str()), "{answer:?}");
    assert!(
        answer
            .text()
            .starts_with(&format!("Code: {code}. DB::Exception: "))
    );
}

#[tokio::test]
async fn ping_needs_no_password() {
    let answer = Http::new(shared_engine().url(), "").get("/ping").await;
    assert_eq!((answer.status, answer.text()), (200, "Ok.\n"));
}

#[tokio::test]
async fn a_query_runs_from_the_url_the_body_both_and_a_form() {
    let http = http();
    assert_eq!(http.get("/?query=SELECT%201").await.text(), "1\n");
    assert_eq!(http.post("/", "SELECT 2").await.text(), "2\n");
    assert_eq!(http.post("/?query=SELECT", "3").await.text(), "3\n");
    let form = "--b\r\nContent-Disposition: form-data; name=\"param_x\"\r\n\r\n4\r\n\
                --b\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT {x:UInt8}\r\n--b--\r\n";
    let headers = format!(
        "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {}\r\n",
        form.len()
    );
    let request = http.head("POST", "/", &headers) + form;
    assert_eq!(http.send(request.as_bytes()).await.text(), "4\n");
}

#[tokio::test]
async fn an_answer_names_its_query_its_format_and_its_tag() {
    let answer = http()
        .post(
            "/?query_id=named&default_format=JSONEachRow",
            "SELECT 1 AS x",
        )
        .await;
    assert_eq!(answer.text(), "{\"x\":1}\n");
    assert_eq!(answer.header("x-clickhouse-query-id"), Some("named"));
    assert_eq!(answer.header("x-clickhouse-format"), Some("JSONEachRow"));
    assert_eq!(answer.header("x-clickhouse-timezone"), Some("UTC"));
    let zone = http()
        .post("/", "SELECT timezone(), serverTimezone()")
        .await;
    assert_eq!(zone.text(), "UTC\tUTC\n");
    assert_eq!(
        answer.header("x-clickhouse-exception-tag").map(str::len),
        Some(16)
    );
    let answer = http()
        .post("/?default_format=CSV", "SELECT 1 FORMAT TSV")
        .await;
    assert_eq!(answer.header("x-clickhouse-format"), Some("TSV"));
}

#[tokio::test]
async fn millions_of_rows_arrive_in_order() {
    let client = clickhouse().await.client;
    let mut cursor = client
        .query("SELECT number FROM numbers(3000000)")
        .fetch::<u64>()
        .unwrap();
    let mut expected = 0;
    while let Some(number) = cursor.next().await.unwrap() {
        assert_eq!(number, expected);
        expected += 1;
    }
    assert_eq!(expected, 3_000_000);
}

#[derive(Debug, Deserialize, PartialEq, Row, Serialize)]
struct Visit {
    id: u64,
    url: String,
    score: Option<i32>,
}

impl Visit {
    fn numbered(id: u64) -> Self {
        Self {
            id,
            url: format!("/page/{id}\n\t\0'\\"),
            score: (!id.is_multiple_of(3)).then_some(-7),
        }
    }
}

const CREATE_VISITS: &str = "CREATE TABLE visits (id UInt64, url String, score Nullable(Int32)) ENGINE = MergeTree ORDER BY id";

#[tokio::test]
async fn typed_rows_go_in_and_come_out_over_many_blocks() {
    let client = clickhouse().await.client;
    client.query(CREATE_VISITS).execute().await.unwrap();
    let mut insert = client.insert::<Visit>("visits").await.unwrap();
    for id in 0..300_000 {
        insert.write(&Visit::numbered(id)).await.unwrap();
    }
    insert.end().await.unwrap();
    // The crate asks for RowBinaryWithNamesAndTypes and checks its one header.
    let mut cursor = client
        .query("SELECT ?fields FROM visits ORDER BY id")
        .fetch::<Visit>()
        .unwrap();
    for id in 0..300_000 {
        assert_eq!(cursor.next().await.unwrap(), Some(Visit::numbered(id)));
    }
    assert_eq!(cursor.next().await.unwrap(), None);
}

#[tokio::test]
async fn formats_with_a_header_have_it_once() {
    let rows = "SELECT number AS \"a\"\"\nb\", toString(number) AS c FROM numbers(200000)";
    for (format, header, lines) in [
        ("CSVWithNames", "\"a\"\"\nb\",\"c\"\n0,", 200_002),
        (
            "CSVWithNamesAndTypes",
            "\"a\"\"\nb\",\"c\"\n\"UInt64\",\"String\"\n0,",
            200_003,
        ),
        ("TSVWithNames", "a\"\\nb\tc\n0\t", 200_001),
        (
            "TabSeparatedWithNamesAndTypes",
            "a\"\\nb\tc\nUInt64\tString\n0\t",
            200_002,
        ),
        (
            "JSONCompactEachRowWithNames",
            "[\"a\\\"\\nb\", \"c\"]\n[\"0\"",
            200_001,
        ),
    ] {
        let target = format!("/?output_format_json_quote_64bit_integers=1&default_format={format}");
        let answer = http().post(&target, rows).await;
        let text = answer.text();
        assert!(text.starts_with(header), "{format}: {}", &text[..60]);
        assert_eq!(text.lines().count(), lines, "{format}");
        assert_eq!(text.matches(&header[..4]).count(), 1, "{format}");
    }
}

#[tokio::test]
async fn formats_that_cannot_stream_are_one_document() {
    let http = http();
    let rows = "SELECT number FROM numbers(200000)";
    let json = http.post("/?default_format=JSON", rows).await;
    let json: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert_eq!(json["rows"], 200_000);
    let parquet = http.post("/?default_format=Parquet", rows).await;
    assert_eq!(&parquet.body[..4], b"PAR1");
    let footers = parquet
        .body
        .windows(4)
        .filter(|window| window == b"PAR1")
        .count();
    assert_eq!(footers, 2);
    let values = http.post("/?default_format=Values", rows).await;
    assert_eq!(values.text().matches("),(").count(), 199_999);
    let totals =
        "SELECT number % 2 AS x, count() FROM numbers(10) GROUP BY x WITH TOTALS ORDER BY x";
    assert_eq!(http.post("/", totals).await.text(), "0\t5\n1\t5\n\n0\t10\n");
}

#[tokio::test]
async fn a_result_that_cannot_stream_is_bounded_and_an_insert_of_any_size_is_not() {
    let http = http();
    let large = "SELECT number FROM numbers(50000000)";
    let whole = http.post("/?default_format=JSON", large).await;
    assert_exception(&whole, 500, 396);
    let insert = format!("INSERT INTO FUNCTION null('x UInt64') {large}");
    assert_eq!(http.post("/", &insert).await.status, 200);
}

#[tokio::test]
async fn hostile_strings_pass_as_parameters() {
    let client = clickhouse().await.client;
    for hostile in [
        "",
        "it's",
        "\\",
        "\\'; DROP TABLE x; --",
        "tab\tand\nnewline\r",
        "\0",
        "{x:String}",
        "--b\r\n",
        "\u{202e}\u{1f600}\u{feff}",
        "\r\n__exception__\r\n",
    ] {
        let echoed: String = client
            .query("SELECT {x:String}")
            .param("x", hostile)
            .fetch_one()
            .await
            .unwrap();
        assert_eq!(echoed, hostile);
    }
}

#[tokio::test]
async fn settings_hold_for_their_request_only() {
    let http = http();
    let query = format!(
        "&query={}",
        encode("SELECT getSetting('max_block_size'), getSetting('max_threads')")
    );
    let with = format!("/?max_block_size=123&max_threads=1{query}");
    assert_eq!(http.get(&with).await.text(), "123\t1\n");
    let without = http.get(&format!("/?{}", &query[1..])).await;
    assert_ne!(without.text(), "123\t1\n");
    let clause = "SELECT getSetting('max_block_size') SETTINGS max_block_size = 77";
    assert_eq!(
        http.post("/?max_block_size=123", clause).await.text(),
        "77\n"
    );
    assert_exception(&http.post("/?no_such=1", "SELECT 1").await, 404, 115);
    assert_exception(
        &http.post("/?max_threads%3D1,x=1", "SELECT 1").await,
        404,
        115,
    );
    let injected = http.post("/?max_threads=1',readonly='0", "SELECT 1").await;
    assert_eq!(injected.status, 400, "{injected:?}");
    let slow = "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))";
    assert_exception(&http.post("/?max_execution_time=1", slow).await, 408, 159);
    let large = "SELECT length(groupArray(number)) FROM numbers(100000000)";
    assert_exception(
        &http.post("/?max_memory_usage=10000000", large).await,
        500,
        241,
    );
}

#[tokio::test]
async fn readonly_holds() {
    let database = clickhouse().await;
    database
        .client
        .query(CREATE_VISITS)
        .execute()
        .await
        .unwrap();
    let http = http();
    let name = &database.config.database;
    for statement in [
        "DROP TABLE visits",
        "INSERT INTO visits VALUES (1, 'x', 2)",
        "INSERT INTO visits SELECT number, '', NULL FROM numbers(10)",
        "INSERT INTO visits FORMAT CSV\n1,x,2\n",
        "CREATE TABLE other (x UInt8) ENGINE = Memory",
        "KILL QUERY WHERE query_id = 'x'",
        "INSERT INTO visits SETTINGS readonly = 0 FORMAT CSV\n1,x,2\n",
    ] {
        for readonly in [1, 2] {
            let target = format!("/?database={name}&readonly={readonly}");
            assert_exception(&http.post(&target, statement).await, 500, 164);
        }
        let get = format!("/?database={name}&readonly=0&query={}", encode(statement));
        assert_exception(&http.get(&get).await, 500, 164);
    }
    let setting = "SELECT 1 SETTINGS max_threads = 1";
    assert_exception(&http.post("/?readonly=1", setting).await, 500, 164);
    assert_eq!(
        http.post("/?max_threads=2&readonly=2", setting)
            .await
            .text(),
        "1\n"
    );
    assert_eq!(
        http.post("/?readonly=1&max_threads=2", "SELECT 1")
            .await
            .text(),
        "1\n"
    );
    let count: u64 = database
        .client
        .query("SELECT count() FROM visits")
        .fetch_one()
        .await
        .unwrap();
    assert_eq!(count, 0);
}

#[tokio::test]
async fn databases_do_not_mix() {
    let (one, two) = (clickhouse().await, clickhouse().await);
    for (database, value) in [(&one, 1_u8), (&two, 2)] {
        let create =
            format!("CREATE TABLE t ENGINE = MergeTree ORDER BY x AS SELECT {value}::UInt8 AS x");
        database.client.query(&create).execute().await.unwrap();
    }
    for (database, value) in [(&one, 1_u8), (&two, 2), (&one, 1)] {
        let x: u8 = database
            .client
            .query("SELECT x FROM t")
            .fetch_one()
            .await
            .unwrap();
        assert_eq!(x, value);
    }
    let http = http();
    assert_exception(&http.post("/", "SELECT x FROM t").await, 404, 60);
    assert_exception(&http.post("/?database=no`such", "SELECT 1").await, 404, 81);
}

#[tokio::test]
async fn errors_before_the_first_byte_have_clickhouses_status() {
    let http = http();
    assert_exception(&http.post("/", "SELECT * FROM nowhere").await, 404, 60);
    assert_exception(&http.post("/", "SELEKT").await, 400, 62);
    assert_exception(&http.post("/", "SELECT throwIf(1)").await, 500, 395);
    assert_exception(&http.post("/", "SELECT 1 FORMAT Nothing").await, 404, 73);
    assert_exception(&http.post("/", "SELECT 1; SELECT 2").await, 400, 62);
    assert_exception(
        &http.post("/", "SELECT 1 INTO OUTFILE '/tmp/x'").await,
        500,
        358,
    );
    assert_exception(
        &http
            .post("/", "INSERT INTO t FROM INFILE '/etc/passwd' FORMAT CSV")
            .await,
        500,
        358,
    );
    assert_exception(&http.post("/", "").await, 400, 62);
    assert_eq!(http.get("/elsewhere").await.status, 404);
}

#[tokio::test]
async fn an_error_after_the_first_byte_aborts_the_body_behind_its_frame() {
    let query = "SELECT throwIf(number = 3000000) FROM numbers(5000000) FORMAT RowBinary";
    let answer = http().post("/", query).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.complete, "the last chunk was sent");
    let tag = answer.header("x-clickhouse-exception-tag").unwrap();
    let start = answer.body.iter().position(|&byte| byte != 0).unwrap();
    let frame = std::str::from_utf8(&answer.body[start..]).unwrap();
    let message = frame
        .strip_prefix(&format!("\r\n__exception__\r\n{tag}\r\n"))
        .and_then(|rest| rest.strip_suffix(&format!(" {tag}\r\n__exception__\r\n")))
        .unwrap_or_else(|| panic!("{frame:?}"));
    let (message, length) = message.rsplit_once('\n').unwrap();
    assert!(message.starts_with("Code: 395. DB::Exception: "));
    assert_eq!(length.parse::<usize>().unwrap(), message.len() + 1);
    // The crate reads the same.
    let client = clickhouse().await.client;
    let mut cursor = client
        .query("SELECT throwIf(number = 3000000) FROM numbers(5000000)")
        .fetch::<u8>()
        .unwrap();
    let error = loop {
        match cursor.next().await {
            Ok(row) => assert!(row.is_some(), "an error was taken for the end"),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("Code: 395"), "{error}");
}

#[tokio::test]
async fn an_error_that_the_response_waited_for_has_a_status() {
    let query = "SELECT throwIf(number = 3000000) FROM numbers(5000000)";
    assert_exception(&http().post("/?wait_end_of_query=1", query).await, 500, 395);
}

#[tokio::test]
async fn queries_run_at_the_same_time() {
    let start = Instant::now();
    let http = http();
    let sleeps = (0..8).map(|_| http.post("/", "SELECT sleep(1)"));
    for answer in futures_util::future::join_all(sleeps).await {
        assert_eq!(answer.text(), "0\n");
    }
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn one_query_too_many_is_refused() {
    let engine = OwnEngine::start_with(&["--max-queries", "1"]);
    let http = http_to(engine.process());
    let head = http.head("POST", "/?query=SELECT%20sleep(2)", "Content-Length: 0\r\n");
    let mut first = http.open(head.as_bytes()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_exception(&http.post("/", "SELECT 1").await, 500, 202);
    let kill = http
        .post("/", "KILL QUERY WHERE query_id = 'unknown'")
        .await;
    assert_eq!((kill.status, kill.text()), (200, ""));
    assert_eq!(read_answer(&mut first).await.text(), "0\n");
    assert_eq!(http.post("/", "SELECT 1").await.text(), "1\n");
}

const ENDLESS: &str = "SELECT max(sipHash64(number, {mark:String})) FROM numbers(1000000000000)";

#[tokio::test]
async fn a_killed_query_ends_within_a_moment() {
    let http = http();
    let endless = format!(
        "/?query_id=kill-busy&param_mark=kill-busy&query={}",
        encode(ENDLESS)
    );
    let head = http.head("POST", &endless, "Content-Length: 0\r\n");
    let mut busy = http.open(head.as_bytes()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_exception(
        &http.post("/?query_id=kill-busy", "SELECT 1").await,
        500,
        216,
    );
    let start = Instant::now();
    let kill = http
        .post("/", "KILL QUERY WHERE query_id = 'kill-busy' ASYNC")
        .await;
    assert!(
        kill.text().starts_with("waiting\tkill-busy\tdefault\t"),
        "{kill:?}"
    );
    assert_exception(&read_answer(&mut busy).await, 500, 394);
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    let again = http
        .post("/", "KILL QUERY WHERE query_id = 'kill-busy' SYNC")
        .await;
    assert_eq!((again.status, again.text()), (200, ""));
}

#[tokio::test]
async fn a_query_killed_while_its_client_is_slow_ends_in_an_exception() {
    let http = http();
    let target = "/?query_id=kill-slow&default_format=RowBinary";
    let query = "SELECT number FROM numbers(1000000000)";
    let length = format!("Content-Length: {}\r\n", query.len());
    let mut slow = http
        .open((http.head("POST", target, &length) + query).as_bytes())
        .await;
    let mut first = [0; 4096];
    slow.read_exact(&mut first).await.unwrap();
    // Until every buffer is full and the query's thread waits.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let start = Instant::now();
    let client = clickhouse().await.client;
    let status: String = client
        .query("KILL QUERY WHERE query_id = {id:String} SYNC")
        .param("id", "kill-slow")
        .fetch::<(String, String, String, String)>()
        .unwrap()
        .next()
        .await
        .unwrap()
        .unwrap()
        .0;
    assert_eq!(status, "finished");
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    let mut rest = Vec::new();
    let _ = slow.read_to_end(&mut rest).await;
    let end = String::from_utf8_lossy(&rest[rest.len() - 200..]).into_owned();
    assert!(
        end.contains("Code: 394") && !end.ends_with("\r\n0\r\n\r\n"),
        "{end:?}"
    );
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_query() {
    let http = http();
    // Before the first byte, and after it while nothing is on its way.
    for (mark, query) in [
        ("gone-early", ENDLESS),
        (
            "gone-late",
            "SELECT number, sleepEachRow(1), {mark:String} FROM numbers(100) SETTINGS max_block_size = 1",
        ),
        (
            "gone-writing",
            "INSERT INTO FUNCTION null('x UInt64') SELECT sipHash64(number, {mark:String}) FROM numbers(1000000000000)",
        ),
    ] {
        let target = format!(
            "/?default_format=RowBinary&query_id={mark}&param_mark={mark}&query={}",
            encode(query)
        );
        let head = http.head("POST", &target, "Content-Length: 0\r\n");
        let stream = http.open(head.as_bytes()).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let part = &query[..20];
        drop(stream);
        let took = wait_until_gone(&http, part).await;
        assert!(took < Duration::from_millis(1_200), "{mark}: {took:?}");
        let kill = format!("KILL QUERY WHERE query_id = '{mark}'");
        assert_eq!(
            http.post("/", &kill).await.text(),
            "",
            "{mark} is still known"
        );
    }
}

/// Memory of a process, in bytes.
fn resident_bytes(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_slow_client_holds_its_query_back() {
    let engine = OwnEngine::start();
    let http = http_to(engine.process());
    http.post("/", "SELECT number FROM numbers(1000000) FORMAT Null")
        .await;
    let before = resident_bytes(engine.process().id());
    let query = "SELECT number, randomPrintableASCII(200) FROM numbers(20000000) FORMAT RowBinary";
    let target = format!("/?query={}", encode(query));
    let head = http.head("POST", &target, "Content-Length: 0\r\n");
    let mut slow = http.open(head.as_bytes()).await;
    let mut piece = vec![0; 64 << 10];
    let mut most = 0;
    for _ in 0..30 {
        slow.read_exact(&mut piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        most = most.max(resident_bytes(engine.process().id()));
    }
    // A block is some 14 MB; the whole result would be 4 GB.
    assert!(most < before + (400 << 20), "from {before} to {most} bytes");
}

async fn count_visits(client: &clickhouse::Client) -> u64 {
    client
        .query("SELECT count() FROM visits")
        .fetch_one()
        .await
        .unwrap()
}

#[tokio::test]
async fn inserts_take_rows_from_the_body() {
    let database = clickhouse().await;
    database
        .client
        .query(CREATE_VISITS)
        .execute()
        .await
        .unwrap();
    let http = http();
    let target = format!("/?database={}", database.config.database);
    let statement = encode("INSERT INTO visits (id, url) FORMAT CSV");
    for (target, body) in [
        (
            target.clone(),
            "INSERT INTO visits VALUES (1, 'a', 2), (3 + 4, concat('b', '\\''), NULL)",
        ),
        (
            target.clone(),
            "INSERT INTO visits (id, url) FORMAT CSV\n10,x\n11,y\n",
        ),
        (
            target.clone(),
            "INSERT INTO visits (id, url) FORMAT CSV 12,z",
        ),
        (
            target.clone(),
            "INSERT INTO visits SELECT number + 20, '', NULL FROM numbers(2)",
        ),
        (
            target.clone(),
            "INSERT INTO visits (id) FORMAT JSONEachRow SETTINGS max_threads = 1 {\"id\": 30}",
        ),
        (
            target.clone(),
            "INSERT INTO visits (id) SETTINGS max_threads = 1 VALUES (31)",
        ),
        (format!("{target}&query={statement}"), "40,x\n"),
        (
            format!(
                "{target}&query={}",
                encode("INSERT INTO visits (id) VALUES")
            ),
            "(41), (42)",
        ),
        (
            format!(
                "{target}&query={}",
                encode("INSERT INTO visits (id) VALUES (43)")
            ),
            "",
        ),
        (
            format!("{target}&param_x=44"),
            "INSERT INTO visits (id) VALUES ({x:UInt64})",
        ),
        (
            format!(
                "{target}&param_x=45&query={}",
                encode("INSERT INTO visits (id) VALUES ({x:UInt64})")
            ),
            "",
        ),
        (format!("{target}&query={statement}"), ""),
    ] {
        let answer = http.post(&target, body).await;
        assert_eq!((answer.status, answer.text()), (200, ""), "{body}");
    }
    let ids: Vec<u64> = database
        .client
        .query("SELECT id FROM visits ORDER BY id")
        .fetch_all()
        .await
        .unwrap();
    assert_eq!(
        ids,
        [1, 7, 10, 11, 12, 20, 21, 30, 31, 40, 41, 42, 43, 44, 45]
    );
    let summary = http
        .post(&format!("{target}&query={statement}"), "50,x\n51,y\n")
        .await;
    let summary = summary.header("x-clickhouse-summary").unwrap().to_owned();
    assert!(summary.contains("\"written_rows\":\"2\""), "{summary}");
}

#[tokio::test]
async fn an_insert_that_fails_says_why_and_writes_nothing() {
    let database = clickhouse().await;
    database
        .client
        .query(CREATE_VISITS)
        .execute()
        .await
        .unwrap();
    let http = http();
    let target = format!("/?database={}", database.config.database);
    let bad = http
        .post(&target, "INSERT INTO visits (id) FORMAT CSV\n1\n2\nthree\n")
        .await;
    assert_exception(&bad, 400, 117);
    let nowhere = http
        .post(&target, "INSERT INTO nowhere FORMAT CSV\n1\n")
        .await;
    assert_exception(&nowhere, 404, 60);
    let several = http
        .post(
            &target,
            "INSERT INTO visits (id) VALUES (1); DROP TABLE visits",
        )
        .await;
    assert_exception(&several, 400, 62);
    let mut many = b"INSERT INTO visits (id) FORMAT RowBinary\n".to_vec();
    many.extend(std::iter::repeat_n(7, 8 * 1_000_000 + 3));
    assert_eq!(
        http.post(&target, &many)
            .await
            .header("x-clickhouse-exception-code"),
        Some("33")
    );
    assert_eq!(count_visits(&database.client).await, 0);
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

#[tokio::test]
async fn compressed_inserts_are_taken_whole_or_not_at_all() {
    let database = clickhouse().await;
    database
        .client
        .query(CREATE_VISITS)
        .execute()
        .await
        .unwrap();
    let http = http();
    let target = format!("/?database={}", database.config.database);
    let send = async |encoding: &str, body: &[u8]| {
        let headers = format!(
            "Content-Encoding: {encoding}\r\nContent-Length: {}\r\n",
            body.len()
        );
        let mut request = http.head("POST", &target, &headers).into_bytes();
        request.extend_from_slice(body);
        http.send(&request).await
    };
    let mut rows = b"INSERT INTO visits (id) FORMAT RowBinary\n".to_vec();
    rows.extend((0..500_000_u64).flat_map(u64::to_le_bytes));
    let (front, back) = rows.split_at(1_000_001);
    let mut expected = 0;
    for (encoding, compress) in [("lz4", lz4 as fn(&[u8]) -> Vec<u8>), ("zstd", zstd)] {
        let frame = compress(&rows);
        let cut = send(encoding, &frame[..frame.len() / 2]).await;
        assert_exception(&cut, 500, 271);
        let garbage = send(encoding, &rows).await;
        assert_exception(&garbage, 500, 271);
        assert_eq!(count_visits(&database.client).await, expected, "{encoding}");
        let two_frames = [compress(front), compress(back)].concat();
        for body in [frame, two_frames] {
            let answer = send(encoding, &body).await;
            assert_eq!((answer.status, answer.text()), (200, ""), "{encoding}");
            expected += 500_000;
            assert_eq!(count_visits(&database.client).await, expected, "{encoding}");
        }
    }
    assert_exception(&send("br", b"x").await, 500, 89);
}

#[tokio::test]
async fn an_insert_whose_body_breaks_off_is_not_committed() {
    let database = clickhouse().await;
    database
        .client
        .query(CREATE_VISITS)
        .execute()
        .await
        .unwrap();
    let http = http();
    let statement = encode("INSERT INTO visits (id) FORMAT RowBinary");
    let target = format!(
        "/?database={}&query={statement}&query_id=cut",
        database.config.database
    );
    let rows: Vec<u8> = (0..1_000_u64).flat_map(u64::to_le_bytes).collect();
    let chunk = [format!("{:x}\r\n", rows.len()).as_bytes(), &rows, b"\r\n"].concat();
    for (name, head, body) in [
        ("chunked", "Transfer-Encoding: chunked\r\n", chunk),
        ("length", "Content-Length: 16000\r\n", rows),
    ] {
        let mut stream = http.open(http.head("POST", &target, head).as_bytes()).await;
        stream.write_all(&body).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(stream);
        wait_until_gone(&http, "INSERT INTO visits (id)").await;
        assert_eq!(count_visits(&database.client).await, 0, "{name}");
    }
}

#[tokio::test]
async fn a_killed_insert_is_not_committed() {
    let database = clickhouse().await;
    database
        .client
        .query(CREATE_VISITS)
        .execute()
        .await
        .unwrap();
    let http = http();
    let statement = encode("INSERT INTO visits (id) FORMAT RowBinary");
    let target = format!(
        "/?database={}&query={statement}&query_id=kill-insert",
        database.config.database
    );
    let mut stream = http
        .open(
            http.head("POST", &target, "Content-Length: 16\r\n")
                .as_bytes(),
        )
        .await;
    stream.write_all(&1_u64.to_le_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let kill = http
        .post("/", "KILL QUERY WHERE query_id = 'kill-insert' SYNC")
        .await;
    assert!(
        kill.text().starts_with("finished\tkill-insert\t"),
        "{kill:?}"
    );
    assert_exception(&read_answer(&mut stream).await, 500, 394);
    assert_eq!(count_visits(&database.client).await, 0);
}

#[tokio::test]
async fn web_pages_are_refused() {
    let engine = shared_engine();
    let port = engine.url().rsplit_once(':').unwrap().1;
    let key = format!("X-ClickHouse-Key: {}\r\n", engine.password());
    let http = http();
    for (headers, status) in [
        (
            format!("Host: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"),
            403,
        ),
        (format!("Host: 127.0.0.1:{port}\r\nOrigin: null\r\n"), 403),
        (format!("Host: evil.example:{port}\r\n"), 403),
        ("Host: 127.0.0.1.evil.example\r\n".into(), 403),
        ("Host: localhost.evil.example\r\n".into(), 403),
        (String::new(), 403),
        (format!("Host: localhost:{port}\r\n"), 200),
        ("Host: 127.0.0.1\r\n".into(), 200),
        (format!("Host: [::1]:{port}\r\n"), 200),
    ] {
        for target in ["/ping", "/?query=SELECT%201"] {
            let request =
                format!("GET {target} HTTP/1.1\r\nConnection: close\r\n{key}{headers}\r\n");
            let answer = http.send(request.as_bytes()).await;
            assert_eq!(answer.status, status, "{headers:?} {target}");
        }
    }
}

#[tokio::test]
async fn the_password_opens_in_every_place_and_nothing_else_does() {
    let engine = shared_engine();
    let password = engine.password();
    let anonymous = Http::new(engine.url(), "");
    let basic = |password: &str| {
        use base64::Engine as _;
        let credentials =
            base64::engine::general_purpose::STANDARD.encode(format!("me:{password}"));
        format!("Authorization: Basic {credentials}\r\n")
    };
    for (target, headers, status) in [
        ("/?query=SELECT%201".to_owned(), String::new(), 403),
        (
            "/?query=SELECT%201".to_owned(),
            "X-ClickHouse-Key: wrong\r\n".into(),
            403,
        ),
        (
            "/?query=SELECT%201&password=wrong".to_owned(),
            String::new(),
            403,
        ),
        ("/?query=SELECT%201".to_owned(), basic("wrong"), 403),
        (
            "/?query=SELECT%201".to_owned(),
            format!("X-ClickHouse-User: me\r\nX-ClickHouse-Key: {password}\r\n"),
            200,
        ),
        (
            format!("/?query=SELECT%201&user=me&password={password}"),
            String::new(),
            200,
        ),
        ("/?query=SELECT%201".to_owned(), basic(password), 200),
    ] {
        let answer = anonymous
            .send(anonymous.head("GET", &target, &headers).as_bytes())
            .await;
        assert_eq!(answer.status, status, "{target} {headers}");
        if status == 403 {
            assert_exception(&answer, 403, 516);
        }
    }
}

#[tokio::test]
async fn a_directory_has_one_engine() {
    let engine = OwnEngine::start();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_rowspout"))
        .args(["engine", "--listen", "127.0.0.1:0", "--path"])
        .arg(engine.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("another engine runs on"), "{message}");
}

#[tokio::test]
async fn data_outlives_the_process() {
    let mut engine = OwnEngine::start();
    engine
        .client()
        .query(CREATE_VISITS)
        .execute()
        .await
        .unwrap();
    let insert = "INSERT INTO visits SELECT number, '', NULL FROM numbers(1000)";
    engine.client().query(insert).execute().await.unwrap();
    engine.stop();
    engine.start_again();
    assert_eq!(count_visits(&engine.client()).await, 1_000);
    engine.client().query(insert).execute().await.unwrap();
    engine.kill();
    engine.start_again();
    assert_eq!(count_visits(&engine.client()).await, 2_000);
}

/// Inserts one row a statement until the engine refuses, and returns how many it acknowledged.
async fn insert_until_refused(http: Http) -> u64 {
    for id in 0.. {
        let body = format!("INSERT INTO visits (id) FORMAT CSV\n{id}\n");
        let length = format!("Content-Length: {}\r\n", body.len());
        let request = http.head("POST", "/", &length) + &body;
        let Ok(mut stream) = tokio::net::TcpStream::connect(http.address()).await else {
            return id;
        };
        let mut answer = Vec::new();
        if stream.write_all(request.as_bytes()).await.is_err()
            || stream.read_to_end(&mut answer).await.is_err()
            || !answer.starts_with(b"HTTP/1.1 200")
        {
            return id;
        }
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_loses_no_acknowledged_insert() {
    for by_signal in [true, false] {
        let mut engine = OwnEngine::start();
        engine
            .client()
            .query(CREATE_VISITS)
            .execute()
            .await
            .unwrap();
        let inserting = tokio::spawn(insert_until_refused(http_to(engine.process())));
        tokio::time::sleep(Duration::from_millis(700)).await;
        if by_signal {
            let id = engine.process().id().to_string();
            let kill = std::process::Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap();
            assert!(kill.success());
        }
        tokio::task::block_in_place(|| engine.stop());
        let acknowledged = inserting.await.unwrap();
        assert!(acknowledged > 0);
        engine.start_again();
        let written = count_visits(&engine.client()).await;
        // One more may have been written whose answer was lost.
        assert!(
            written == acknowledged || written == acknowledged + 1,
            "{acknowledged} {written}"
        );
    }
}
