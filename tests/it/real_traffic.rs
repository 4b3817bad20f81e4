//! Real traffic, loaded and exported again.

use std::path::PathBuf;

use rowspout::config::ClickHouse;

use crate::support::command::rowspout;
use crate::support::insert::{self, database};
use crate::support::service::TestService;

const DAYS: &str = "start_date=2015-05-17&end_date=2015-05-20";

/// Ten thousand events of a real website, where they are at hand: beside the repository, not in it.
fn traffic() -> Option<PathBuf> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data/semicomplete-events.csv");
    if path.is_file() {
        return Some(path);
    }
    println!("left out: the real traffic is not at ../shared/data");
    None
}

/// The file less its last column.
fn without_is_bot(text: &str) -> String {
    text.lines()
        .flat_map(|line| {
            let (rest, is_bot) = line.rsplit_once(',').expect("a last column");
            assert!(["0", "1", "is_bot"].contains(&is_bot));
            [rest, "\n"]
        })
        .collect()
}

fn load(clickhouse: &ClickHouse, file: &std::path::Path, site: &str) -> std::process::Output {
    rowspout(clickhouse)
        .arg("load")
        .arg(file)
        .args(["--site", site])
        .output()
        .expect("rowspout runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_loaded_is_exported_byte_for_byte_and_again() {
    let Some(file) = traffic() else { return };
    let source = std::fs::read_to_string(&file).expect("the file");
    let database = database().await;
    insert::website(&database, "site_real").await;
    insert::website(&database, "site_again").await;
    let service = TestService::start(&database.config).await;

    let loaded = load(&database.config, &file, "site_real");
    assert!(
        loaded.status.success(),
        "{}",
        String::from_utf8_lossy(&loaded.stderr)
    );
    assert!(loaded.stdout.is_empty());
    let all = service
        .export("site_real", &format!("{DAYS}&include_bots=true"))
        .await
        .text();
    assert_eq!(all.lines().count(), 10_001);
    assert!(
        all == without_is_bot(&source),
        "the export differs from what was loaded"
    );

    // Without bots: the source's lines that say 0.
    let people = service.export("site_real", DAYS).await.text();
    let expected: String = source
        .lines()
        .filter(|line| !line.ends_with(",1"))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert_eq!(people.lines().count(), 7_417);
    assert!(people == without_is_bot(&expected));
    let views = service
        .export(
            "site_real",
            &format!("{DAYS}&include_bots=true&event_type=pageview"),
        )
        .await
        .text();
    assert_eq!(views.lines().count(), 3_825);
    assert!(
        views
            .lines()
            .skip(1)
            .all(|line| line.split(',').nth(1) == Some("pageview"))
    );

    // The same file twice is refused; into another site it gives the same bytes.
    let twice = load(&database.config, &file, "site_real");
    assert_eq!(twice.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&twice.stderr).contains("--again"));
    assert!(load(&database.config, &file, "site_again").status.success());
    let again = service
        .export("site_again", &format!("{DAYS}&include_bots=true"))
        .await
        .text();
    assert!(again == all);
    let unchanged = service
        .export("site_real", &format!("{DAYS}&include_bots=true"))
        .await
        .text();
    assert!(unchanged == all, "the refused load changed something");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_that_was_exported_can_be_loaded_and_exports_the_same() {
    let Some(file) = traffic() else { return };
    let database = database().await;
    insert::website(&database, "site_real").await;
    let service = TestService::start(&database.config).await;
    assert!(load(&database.config, &file, "site_real").status.success());
    let folder = tempfile::tempdir().expect("a folder");
    for format in ["csv", "json", "ndjson", "parquet"] {
        let query = format!("{DAYS}&include_bots=true&format={format}");
        let exported = service
            .export("site_real", &query)
            .await
            .body
            .expect("complete");
        let path = folder.path().join(format!("events.{format}"));
        std::fs::write(&path, &exported).expect("written");
        let site = format!("site_{format}");
        insert::website(&database, &site).await;
        let loaded = load(&database.config, &path, &site);
        assert!(
            loaded.status.success(),
            "{format}: {}",
            String::from_utf8_lossy(&loaded.stderr)
        );
        let again = service.export(&site, &query).await.body.expect("complete");
        if format == "parquet" {
            // The file names its website, so its values are compared.
            let rows = crate::support::parquet::rows;
            assert!(rows(again) == rows(exported));
        } else {
            assert!(again == exported, "{format} came back otherwise");
        }
    }
}
