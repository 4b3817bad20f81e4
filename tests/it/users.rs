//! The users of `schema/users.sql`, in an engine that holds them to their rights.

use std::path::Path;
use std::time::Duration;

use rowspout::catalog::Catalog;
use rowspout::config::{DEFAULT_MAX_QUERY_BYTES, DEFAULT_MAX_QUERY_SECONDS, DEFAULT_STALL_SECONDS};
use rowspout::export_log::{Entry, ExportLog};
use rowspout::receipt::{Moment, Receipt, Status};
use rowspout::request::Format;

use crate::support::command::rowspout;
use crate::support::insert::{fill, website, with_tables};
use crate::support::service::{TestService, config};
use crate::support::users::{Rights, statements};
use crate::support::{OwnEngine, TestDatabase, clickhouse};

/// An engine's default database.
fn database(engine: &OwnEngine) -> TestDatabase {
    TestDatabase {
        config: engine.process().clickhouse("default"),
        client: engine.client(),
    }
}

/// A stopped engine with tables, a website with traffic, and a key.
async fn prepared() -> (OwnEngine, String, Vec<Vec<u8>>) {
    let mut engine = OwnEngine::start();
    let tables = with_tables(database(&engine)).await;
    website(&tables, "site_demo").await;
    fill(&tables, 20_000).await;
    let key = Catalog::new(&tables.config)
        .create_key(&[], "")
        .await
        .unwrap();
    let files = Format::ALL.map(|format| exported(&tables, format).unwrap());
    engine.stop();
    (engine, key, files.into())
}

/// A file of `rowspout export`, or what it said.
fn exported(database: &TestDatabase, format: Format) -> Result<Vec<u8>, String> {
    let output = rowspout(&database.config)
        .args(["export", "--site", "site_demo", "--format", format.as_str()])
        .args(["--start", "2026-01-01", "--end", "2026-03-31"])
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The code that ClickHouse refuses a statement with.
async fn refusal(client: &clickhouse::Client, sql: &str) -> Option<u32> {
    let error = client.query_raw(sql).execute().await.err()?.to_string();
    let (_, code) = error
        .split_once("Code: ")
        .unwrap_or_else(|| panic!("{error}"));
    Some(code.split('.').next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_exports_the_administrators_files_and_may_do_nothing_else() {
    let (mut engine, key, files) = prepared().await;
    let folder = tempfile::tempdir().unwrap();
    Rights::of("rowspout").start(&mut engine, folder.path());
    let restricted = database(&engine);
    for (format, file) in Format::ALL.into_iter().zip(&files) {
        assert_eq!(&exported(&restricted, format).unwrap(), file, "{format}");
    }
    let service = TestService::start_without_key(config(&restricted.config), key).await;
    let query = "start_date=2026-01-01&end_date=2026-03-31";
    let answer = service.export("site_demo", query).await;
    assert_eq!(answer.body.unwrap(), files[0]);

    // It may end its own queries.
    let slow = "SELECT count() FROM events AS a, events AS b WHERE sipHash64(a.url, b.url) = 1";
    let slow = restricted.client.query_raw(slow);
    let slow = tokio::spawn(slow.with_setting("query_id", "slow").fetch_one::<u64>());
    let kill = "KILL QUERY WHERE query_id = 'slow' SYNC";
    while !slow.is_finished() {
        restricted.client.query_raw(kill).execute().await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ended = slow.await.unwrap().unwrap_err().to_string();
    assert!(ended.contains("Code: 394"), "{ended}");

    const ACCESS_DENIED: u32 = 497;
    const READONLY: u32 = 164;
    const CONSTRAINT: u32 = 452;
    for (sql, codes) in [
        ("SELECT * FROM loads", [ACCESS_DENIED, 0]),
        ("SELECT * FROM export_log", [ACCESS_DENIED, 0]),
        (
            "INSERT INTO events (website_id) SELECT 'site_demo'",
            [ACCESS_DENIED, READONLY],
        ),
        (
            "ALTER TABLE events DELETE WHERE 1",
            [ACCESS_DENIED, READONLY],
        ),
        ("TRUNCATE TABLE api_keys", [ACCESS_DENIED, READONLY]),
        ("DROP TABLE websites", [ACCESS_DENIED, READONLY]),
        (
            "CREATE TABLE more (a UInt8) ENGINE = Memory",
            [ACCESS_DENIED, READONLY],
        ),
        (
            "SELECT * FROM file('/etc/hostname', 'LineAsString')",
            [ACCESS_DENIED, READONLY],
        ),
        ("SELECT 1 SETTINGS readonly = 0", [READONLY, CONSTRAINT]),
        ("SELECT 1 SETTINGS max_memory_usage = 0", [CONSTRAINT, 0]),
        (
            "SELECT 1 SETTINGS max_execution_time = 3601",
            [CONSTRAINT, 0],
        ),
    ] {
        let refused = refusal(&restricted.client, sql).await;
        assert!(
            refused.is_some_and(|code| codes.contains(&code)),
            "{sql}: {refused:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_needs_every_one_of_its_grants_on_tables() {
    let (mut engine, key, _) = prepared().await;
    let rights = Rights::of("rowspout");
    let on_tables: Vec<_> = rights
        .grants
        .iter()
        .filter(|grant| grant.contains(" ON default."))
        .collect();
    assert_eq!(on_tables.len(), 3);
    for without in on_tables {
        let folder = tempfile::tempdir().unwrap();
        let mut fewer = rights.clone();
        fewer.grants.retain(|grant| grant != without);
        fewer.start(&mut engine, folder.path());
        let restricted = database(&engine);
        let service = TestService::start_without_key(config(&restricted.config), key.clone()).await;
        let query = "start_date=2026-01-01&end_date=2026-03-31";
        let answer = service.export("site_demo", query).await;
        assert_eq!(answer.status, 500, "without {without}");
        engine.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logs_user_keeps_receipts_and_may_do_nothing_else() {
    let (mut engine, ..) = prepared().await;
    let rights = Rights::of("rowspout_log");
    for without in [None, Some("INSERT"), Some("SELECT")] {
        let folder = tempfile::tempdir().unwrap();
        let mut rights = rights.clone();
        for grant in &mut rights.grants {
            if let Some(without) = without {
                *grant = grant.replace(without, "SHOW TABLES");
            }
        }
        rights.start(&mut engine, folder.path());
        let second = Duration::from_secs(1);
        let log = ExportLog::new(&database(&engine).config, second, second);
        let written = log.write(&[entry()]).await;
        let found = log.find("exp_1").await;
        match without {
            None => {
                written.unwrap();
                assert_eq!(found.unwrap().unwrap().receipt, entry().receipt);
                let client = engine.client();
                for sql in [
                    "SELECT * FROM events",
                    "SELECT * FROM api_keys",
                    "INSERT INTO events (website_id) SELECT 'site_demo'",
                    "ALTER TABLE export_log DELETE WHERE 1",
                    "DROP TABLE export_log",
                ] {
                    assert_eq!(refusal(&client, sql).await, Some(497), "{sql}");
                }
            }
            Some("INSERT") => assert!(written.is_err() && found.is_ok()),
            Some(_) => assert!(written.is_ok() && found.is_err()),
        }
        engine.stop();
    }
}

fn entry() -> Entry {
    Entry {
        receipt: Receipt {
            export_id: "exp_1".into(),
            status: Status::Complete,
            reason: None,
            website: "site_demo".into(),
            format: "csv".into(),
            timezone: "UTC".into(),
            start_date: Some("2026-01-01".into()),
            end_date: Some("2026-03-31".into()),
            from: None,
            to: None,
            since: None,
            next_since: None,
            late_rows: None,
            event_type: None,
            include_bots: false,
            filters: Vec::new(),
            fields: None,
            limit: None,
            rows: 1,
            bytes: 2,
            sha256: None,
            resumes: 0,
            started: Moment(1_772_532_900_000),
            finished: Some(Moment(1_772_532_901_000)),
        },
        key_id: "key_1".into(),
        version: 1,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_users_statements_are_sql_and_name_tables_that_exist() {
    let database = with_tables(clickhouse().await).await;
    let tables = "SELECT name FROM system.tables WHERE database = currentDatabase()";
    let tables = database
        .client
        .query_raw(tables)
        .fetch_all::<String>()
        .await
        .unwrap();
    let mut grants = 0;
    for statement in statements() {
        let parsed = format!("EXPLAIN AST {statement}");
        let parsed = database.client.query_raw(&parsed);
        parsed.fetch_all::<String>().await.expect(&statement);
        if let Some((_, rest)) = statement.split_once(" ON ") {
            let table = rest.split(' ').next().unwrap();
            let known = table.starts_with("system.") || tables.iter().any(|name| name == table);
            assert!(known, "{statement}");
            grants += 1;
        }
    }
    assert_eq!(grants, 6);
}

#[test]
fn the_profile_allows_what_exports_ask_for_by_default() {
    let settings = Rights::of("rowspout").settings;
    for (name, value) in [
        ("max_execution_time", DEFAULT_MAX_QUERY_SECONDS),
        ("max_memory_usage", DEFAULT_MAX_QUERY_BYTES),
    ] {
        let line = format!("{name} = {value} MIN 1 MAX {value}");
        assert!(settings.contains(&line), "{line}: {settings:?}");
    }
    let patience = settings
        .iter()
        .find_map(|line| line.strip_prefix("http_send_timeout = "));
    assert!(patience.unwrap().parse::<u64>().unwrap() > DEFAULT_STALL_SECONDS);
}

#[test]
fn a_server_configuration_that_is_not_there_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_rowspout"))
        .args(["engine", "--listen", "127.0.0.1:0", "--path"])
        .arg(folder.path())
        .args(["--server-config", "nowhere.xml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("nowhere.xml"), "{said}");
    assert!(Path::new(folder.path()).is_dir());
}
