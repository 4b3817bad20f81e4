//! What scripts may rely on: exit codes, streams, settings, files that are complete or not there.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::TestDatabase;
use crate::support::command::rowspout;
use crate::support::insert::{self, Event, database};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

const EXPORT: [&str; 7] = [
    "export",
    "--site",
    "site_a",
    "--start",
    "2026-03-03",
    "--end",
    "2026-03-03",
];

/// A website with one page view on 2026-03-03.
async fn one_view() -> TestDatabase {
    let database = database().await;
    insert::website(&database, "site_a").await;
    insert::events(&database, "site_a", &[Event::at(1_772_532_900_000, 1)]).await;
    database
}

#[tokio::test(flavor = "multi_thread")]
async fn data_goes_to_standard_output_and_nothing_else_does() {
    let database = one_view().await;
    let output = rowspout(&database.config).args(EXPORT).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(text.ends_with("2026-03-03T10:15:00Z,pageview,,,,,,,,,,,,,,,\n"));
    assert_eq!(output.stderr, b"", "a pipe gets no progress");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_appears_whole_and_its_extension_names_the_format() {
    let database = one_view().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("events.ndjson"), "an older file").unwrap();
    let output = rowspout(&database.config)
        .args(EXPORT)
        .args(["-o", "events.ndjson"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
    assert_eq!(files(folder.path()), ["events.ndjson"]);
    let text = std::fs::read_to_string(folder.path().join("events.ndjson")).unwrap();
    assert!(text.starts_with("{\"timestamp\":\"2026-03-03T10:15:00Z\","));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_exits_with_2_and_failures_with_1_and_both_say_why() {
    let database = one_view().await;
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code, says) in [
        (&["export"] as &[&str], 2, "--site"),
        (
            &[
                "export",
                "--site",
                "a",
                "--start",
                "2026-03-03",
                "--end",
                "2026-03-03",
            ],
            2,
            "site_",
        ),
        (
            &[
                "export",
                "--site",
                "site_a",
                "--start",
                "2026-03-33",
                "--end",
                "2026-03-03",
            ],
            2,
            "start_date",
        ),
        (
            &[
                "export",
                "--site",
                "site_a",
                "--start",
                "2026-03-03",
                "--end",
                "2026-03-03",
                "--format",
                "xml",
            ],
            2,
            "xml",
        ),
        (
            &[
                "export",
                "--site",
                "site_none",
                "--start",
                "2026-03-03",
                "--end",
                "2026-03-03",
            ],
            1,
            "site_none",
        ),
        (
            &[
                "export",
                "--site",
                "site_a",
                "--start",
                "2026-03-03",
                "--end",
                "2026-03-03",
                "-o",
                "none/file",
            ],
            1,
            "none/file",
        ),
        (&["site", "add", "site_a", "--name", "again"], 1, "exists"),
        (&["key", "revoke", "key_00000000"], 1, "key_00000000"),
        (&["load", "none.csv", "--site", "site_a"], 2, "none.csv"),
        (
            &[
                "export",
                "--config",
                "none.toml",
                "--site",
                "site_a",
                "--start",
                "2026-03-03",
                "--end",
                "2026-03-03",
            ],
            2,
            "none.toml",
        ),
        (&["frobnicate"], 2, "frobnicate"),
    ] {
        let output = rowspout(&database.config)
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(
            stderr(&output).contains(says),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty());
        assert!(files(folder.path()).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_come_before_the_environment_before_the_file_before_defaults() {
    let database = one_view().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rowspout.toml");
    let run = |text: &str, environment: Option<&str>, flag: Option<&str>| {
        std::fs::write(&file, text).unwrap();
        let mut command = rowspout(&database.config);
        command.args(EXPORT).current_dir(folder.path());
        if let Some(table) = environment {
            command.env("ROWSPOUT_EVENTS_TABLE", table);
        }
        if let Some(table) = flag {
            command.args(["--events-table", table]);
        }
        command.output().unwrap()
    };
    // The table `events` is there, the others are not.
    assert_eq!(run("", None, None).status.code(), Some(0));
    assert_eq!(
        run("events_table = \"nowhere\"", None, None).status.code(),
        Some(1)
    );
    assert_eq!(
        run("events_table = \"nowhere\"", Some("events"), None)
            .status
            .code(),
        Some(0)
    );
    assert_eq!(
        run("", Some("nowhere"), Some("events")).status.code(),
        Some(0)
    );
    assert_eq!(
        run("events_table = \"events\"", Some("events"), Some("nowhere"))
            .status
            .code(),
        Some(1)
    );

    let unknown = run("\nevent_table = \"events\"", None, None);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(
        stderr(&unknown).contains("event_table"),
        "{}",
        stderr(&unknown)
    );
    let evil = run("", None, Some("events; DROP TABLE events"));
    assert_eq!(evil.status.code(), Some(2));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_export_leaves_no_file() {
    let database = database().await;
    insert::website(&database, "site_demo").await;
    let site = rowspout::request::WebsiteId::parse("site_demo").unwrap();
    rowspout::schema::make_demo_events(&database.config, &site, 1_000_000)
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    for signal in ["-INT", "-TERM"] {
        let child = rowspout(&database.config)
            .args([
                "export",
                "--site",
                "site_demo",
                "--start",
                "2026-01-01",
                "--end",
                "2026-03-31",
            ])
            .args(["-o", "file.csv"])
            .current_dir(folder.path())
            .spawn()
            .unwrap();
        // Once the temporary file is there, the export has begun.
        while files(folder.path()).is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let killed = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            files(folder.path()).is_empty(),
            "{:?}",
            files(folder.path())
        );
    }
}
