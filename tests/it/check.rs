//! `rowspout check`: each way in which ClickHouse can be other than exports need it is told, with what to do, and the exit
//! code says whether anything will fail.

use std::process::Command;

use rowspout::config::ClickHouse;

use crate::support::command::rowspout;
use crate::support::insert::{self, Event, database, with_tables};
use crate::support::service::free_address;
use crate::support::users::Rights;
use crate::support::{OwnEngine, clickhouse};

/// What `rowspout check` printed, a line a finding, and its exit code.
struct Checked {
    lines: Vec<String>,
    code: i32,
}

impl Checked {
    fn of(command: &mut Command) -> Self {
        let output = command.arg("check").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let failed = lines
            .iter()
            .filter(|line| line.starts_with("failed"))
            .count();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code().unwrap();
        assert_eq!(code, i32::from(failed > 0), "{text}{said}");
        assert_eq!(
            said.contains(&format!("{failed} of {} checks", lines.len())),
            failed > 0
        );
        for line in &lines {
            // Whatever is wrong comes with what to do.
            assert_eq!(
                line.starts_with("ok "),
                !line.contains(". What to do: "),
                "{line}"
            );
        }
        Self { lines, code }
    }

    fn at(clickhouse: &ClickHouse) -> Self {
        Self::of(&mut rowspout(clickhouse))
    }

    /// The one line that begins so and holds all of these.
    fn expect(&self, verdict: &str, parts: &[&str]) -> &str {
        let mut found = self.lines.iter().filter(|line| {
            line.starts_with(verdict) && parts.iter().all(|part| line.contains(part))
        });
        let line = found.next();
        assert!(
            found.next().is_none(),
            "{parts:?} twice in {:#?}",
            self.lines
        );
        line.unwrap_or_else(|| panic!("no {verdict} {parts:?} in {:#?}", self.lines))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clickhouse_as_it_should_be_passes() {
    let database = database().await;
    let checked = Checked::at(&database.config);
    assert_eq!(checked.code, 0);
    let url = &database.config.url;
    for about in [
        "answer to clickhouse_user: as the user default",
        "version: 2",
        "clock: agrees",
        "table websites",
        "table api_keys",
        "table events",
        "table export_log",
        "export of nothing",
        "log of exports",
        "ending queries",
        "counts: the projection quarter_hours",
        "parts",
    ] {
        checked.expect("ok", &[url, about]);
    }
    // The engine's only user may do everything.
    checked.expect(
        "warning",
        &[
            "rights of default",
            "INSERT ON",
            "SELECT ON *.*",
            "schema users",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_answer_is_told_by_what_keeps_them() {
    let there = clickhouse().await.config;
    let nobody = ClickHouse {
        url: format!("http://{}", free_address()),
        ..there.clone()
    };
    let checked = Checked::at(&nobody);
    assert_eq!(checked.lines.len(), 1);
    checked.expect(
        "failed",
        &[&nobody.url, "cannot be reached", "clickhouse_url"],
    );

    let stranger = ClickHouse {
        password: Some("wrong".into()),
        ..there.clone()
    };
    let checked = Checked::at(&stranger);
    checked.expect(
        "failed",
        &[
            &there.url,
            "516",
            "check clickhouse_user and clickhouse_password",
        ],
    );
    assert!(
        !checked.lines.concat().contains("wrong"),
        "{:?}",
        checked.lines
    );

    let elsewhere = ClickHouse {
        database: "no_such_database".into(),
        ..there.clone()
    };
    Checked::at(&elsewhere).expect("failed", &["no_such_database", "rowspout schema apply"]);

    let mut command = rowspout(&there);
    command.envs([
        ("ROWSPOUT_LOG_USER", "keeper"),
        ("ROWSPOUT_LOG_PASSWORD", "wrong"),
    ]);
    let checked = Checked::of(&mut command);
    checked.expect(
        "failed",
        &["answer to log_user", "check log_user and log_password"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_missing_or_of_other_types_are_told_by_name() {
    let empty = clickhouse().await;
    let checked = Checked::at(&empty.config);
    for table in ["websites", "api_keys", "events", "export_log"] {
        checked.expect(
            "failed",
            &[
                &format!("there is no {}.{table}.", empty.config.database),
                "rowspout schema apply",
            ],
        );
    }

    let database = database().await;
    let mut command = rowspout(&database.config);
    let checked = Checked::of(command.env("ROWSPOUT_EVENTS_TABLE", "nowhere"));
    checked.expect("failed", &["table nowhere", "events_table"]);

    for sql in [
        "CREATE VIEW coarse AS SELECT * REPLACE (toDateTime(timestamp) AS timestamp) FROM events",
        "CREATE VIEW short AS SELECT * EXCEPT (city) FROM events",
        "CREATE VIEW fine AS SELECT * FROM events",
        "ALTER TABLE export_log DROP COLUMN sha256",
        "ALTER TABLE api_keys MODIFY COLUMN name LowCardinality(String)",
    ] {
        database.client.query(sql).execute().await.expect(sql);
    }
    let checked = |table: &str| {
        let mut command = rowspout(&database.config);
        Checked::of(command.env("ROWSPOUT_EVENTS_TABLE", table))
    };
    let coarse = checked("coarse");
    coarse.expect(
        "failed",
        &["timestamp is DateTime", "DateTime64(3, 'UTC')", "view"],
    );
    coarse.expect(
        "failed",
        &["table export_log: lacks sha256", "rowspout schema apply"],
    );
    coarse.expect(
        "warning",
        &["name is LowCardinality(String) instead of String"],
    );
    checked("short").expect("failed", &["city is missing"]);
    let fine = checked("fine");
    fine.expect("ok", &["table fine: 21 columns, View"]);
    fine.expect("ok", &["fine is a View", "were not looked at"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_lie_over_each_other_are_told_until_they_are_merged() {
    let database = database().await;
    let run = |sql: &'static str| {
        let statement = database.client.query(sql).execute();
        async move { statement.await.expect(sql) }
    };
    run("SYSTEM STOP MERGES events").await;
    const MARCH: i64 = 1_772_323_200_000;
    for part in 0..3 {
        let event = |n: i64| Event::at(MARCH + n * 60_000 + part, (n * 3 + part) as u64);
        let events: Vec<_> = (0..1_000).map(event).collect();
        insert::events(&database, "site_a", &events).await;
    }
    let checked = Checked::at(&database.config);
    assert_eq!(checked.code, 0);
    checked.expect(
        "warning",
        &[
            "parts",
            "202603 (3 parts, 3.0 deep)",
            "OPTIMIZE TABLE",
            "PARTITION 202603 FINAL",
        ],
    );
    run("SYSTEM START MERGES events").await;
    run("OPTIMIZE TABLE events PARTITION 202603 FINAL").await;
    // April lies behind March: two parts, none over the other.
    insert::events(
        &database,
        "site_a",
        &[Event::at(MARCH + 40 * 86_400_000, 9_999)],
    )
    .await;
    Checked::at(&database.config).expect("ok", &["parts: 2 in 2 partitions"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_rows_are_not_counted_is_told_with_what_that_costs() {
    let database = database().await;
    let drop = "ALTER TABLE events DROP PROJECTION quarter_hours";
    database.client.query(drop).execute().await.expect(drop);
    let checked = Checked::at(&database.config);
    assert_eq!(checked.code, 0);
    checked.expect("warning", &["counts", "no ETags", "rowspout schema apply"]);
    rowspout::schema::apply(&database.config)
        .await
        .expect("tables");
    Checked::at(&database.config).expect("ok", &["counts: the projection"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_is_told_by_how_much() {
    let database = database().await;
    let mut there = rowspout(&database.config);
    // The program's own clock is moved, since ClickHouse's cannot be; timers go on.
    let mut moved = Command::new("faketime");
    moved
        .args(["+2 hours", env!("CARGO_BIN_EXE_rowspout")])
        .envs(
            there
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    if Command::new("faketime").arg("--version").output().is_err() {
        eprintln!("faketime is not here: the clock was not moved");
        return;
    }
    let checked = Checked::of(&mut moved);
    checked.expect("warning", &["clock: is 7", "s behind this machine's"]);
    Checked::of(&mut there).expect("ok", &["clock: agrees"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_is_looked_at_and_one_that_is_gone_fails_the_check() {
    let database = database().await;
    let gone = format!("http://{}", free_address());
    let both = ClickHouse {
        url: format!("{gone}, {}", database.config.url),
        ..database.config.clone()
    };
    let checked = Checked::at(&both);
    assert_eq!(checked.code, 1);
    checked.expect("failed", &[&gone, "cannot be reached"]);
    checked.expect("ok", &[&database.config.url, "export of nothing"]);

    let twice = ClickHouse {
        url: format!("{0},{0}", database.config.url),
        ..database.config.clone()
    };
    Checked::at(&twice).expect("ok", &["all replicas clocks: agree"]);
}

/// An engine with tables that runs with the rights of a user, changed.
async fn restricted(change: impl Fn(&mut Rights), folder: &tempfile::TempDir) -> OwnEngine {
    let mut engine = OwnEngine::start();
    let config = engine.process().clickhouse("default");
    with_tables(crate::support::TestDatabase {
        client: config.client(),
        config,
    })
    .await;
    engine.stop();
    let mut rights = Rights::of("rowspout");
    change(&mut rights);
    rights.start(&mut engine, folder.path());
    engine
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reader_has_what_exports_need_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let engine = restricted(|_| (), &folder).await;
    let config = engine.process().clickhouse("default");
    let checked = Checked::at(&config);
    for about in [
        "table events",
        "table websites",
        "table api_keys",
        "export of nothing",
        "ending queries",
        "parts",
    ] {
        checked.expect("ok", &[about]);
    }
    checked.expect(
        "ok",
        &["none that exports do not need: its profile is read-only"],
    );
    // Nobody was named who may write the log, and the reader does not even see it.
    checked.expect("failed", &["table export_log", "default may not read it"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_that_are_missing_or_too_many_are_told_with_the_grant_that_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = restricted(
        |rights| {
            rights.grants.retain(|grant| !grant.contains("api_keys"));
            rights.grants.push("SELECT ON default.export_log".into());
            rights.grants.push("INSERT ON default.events".into());
            rights
                .settings
                .retain(|setting| !setting.starts_with("readonly"));
            for setting in &mut rights.settings {
                *setting = setting.replace("MAX 4294967296", "MAX 1000000000");
                *setting = setting.replace("= 4294967296", "= 1000000000");
            }
        },
        &folder,
    )
    .await;
    let config = engine.process().clickhouse("default");
    let checked = Checked::at(&config);
    checked.expect(
        "failed",
        &[
            "table api_keys",
            "GRANT SELECT ON default.api_keys TO default",
        ],
    );
    checked.expect(
        "failed",
        &["log of exports", "default may not write it", "log_user"],
    );
    checked.expect(
        "failed",
        &[
            "export of nothing",
            "max_memory_usage",
            "lower max_query_seconds or max_query_bytes",
        ],
    );
    let rights = checked.expect(
        "warning",
        &["rights of default", "it may also INSERT ON default.events"],
    );
    assert!(!rights.contains("ALTER"), "{rights}");
    // With less memory an export's settings are allowed.
    let mut command = rowspout(&config);
    command.env("ROWSPOUT_MAX_QUERY_BYTES", "1000000000");
    Checked::of(&mut command).expect("ok", &["export of nothing"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_allows_no_settings_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let engine = restricted(
        |rights| {
            rights.settings = vec![
                "max_threads = 2 MAX 2".into(),
                "max_block_size = 8192 MIN 8192 MAX 8192".into(),
            ]
        },
        &folder,
    )
    .await;
    let config = engine.process().clickhouse("default");
    let checked = Checked::at(&config);
    checked.expect(
        "failed",
        &["export of nothing", "max_block_size", "profile"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_that_the_schemas_readme_shows_passes() {
    let database = database().await;
    let readme = include_str!("../../schema/README.md");
    let (_, rest) = readme.split_once("```sql\n").unwrap();
    let (sql, _) = rest.split_once("```").unwrap();
    for statement in rowspout::schema::statements(sql) {
        let create = database.client.query(statement).execute();
        create.await.expect(statement);
    }
    let mut command = rowspout(&database.config);
    let checked = Checked::of(command.env("ROWSPOUT_EVENTS_TABLE", "hits_for_rowspout"));
    checked.expect("ok", &["table hits_for_rowspout", "View"]);
    checked.expect("ok", &["export of nothing"]);
    checked.expect("ok", &["counts: ", "is a View"]);
}
