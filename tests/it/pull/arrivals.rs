//! `pull --since`: a chain of files, every row in one of them.

use std::collections::HashMap;

use super::proxy::Proxy;
use super::*;
use crate::support::service::config;

const SINCE: [&str; 3] = ["--since", "--format", "ndjson"];

/// A service whose inserts have a second.
async fn service(database: &TestDatabase) -> TestService {
    let mut settings = config(&database.config);
    settings.settle = Duration::from_secs(1);
    TestService::start_with(settings).await
}

async fn empty() -> TestDatabase {
    let database = insert::database().await;
    insert::website(&database, SITE).await;
    database
}

/// Inserts rows with these ids, whose insert began so many seconds ago.
async fn insert_stamped(database: &TestDatabase, first: u64, rows: u64, ago: u64) {
    let sql = format!(
        "INSERT INTO events (website_id, timestamp, event_id, visitor_id, ingested_at) \
         SELECT '{SITE}', toDateTime64('2026-02-01 00:00:00', 3, 'UTC') + number, {first} + number, \
                toString({first} + number), now64(3) - toIntervalSecond({ago}) FROM numbers({rows})"
    );
    run(database, &sql).await;
}

/// Inserts rows with these ids, and waits until they are settled.
async fn arrive(database: &TestDatabase, first: u64, rows: u64) {
    insert_stamped(database, first, rows, 0).await;
    let sql = "SELECT toUnixTimestamp64Milli(now64(3))";
    let now = async || {
        let now = database.client.query_raw(sql).fetch_one::<i64>().await;
        now.expect("the time")
    };
    let settled = now().await + 1_000;
    while now().await <= settled {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// How often each visitor is in the files that the manifest tells.
fn visitors(folder: &Path) -> HashMap<u64, usize> {
    let mut times = HashMap::new();
    for bytes in told_parts(folder).values() {
        for line in lines(bytes) {
            let row: Value = serde_json::from_slice(line).expect("JSON");
            let id = row["visitor_id"].as_str().expect("a visitor").parse();
            *times.entry(id.expect("a number")).or_default() += 1;
        }
    }
    times
}

fn names(folder: &Path) -> Vec<String> {
    parts(folder).into_keys().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pull_adds_a_file_of_what_arrived_and_no_row_comes_twice() {
    let database = empty().await;
    let service = service(&database).await;
    let (_kept, folder) = place();
    let said = pulled(&service, &folder, &SINCE).await;
    assert!(said.contains("nothing has arrived"), "{said}");
    assert!(names(&folder).is_empty());
    for run in 0..3 {
        arrive(&database, run * 1_000, 100).await;
        let said = pulled(&service, &folder, &SINCE).await;
        assert!(said.contains("one file more"), "{said}");
        let said = pulled(&service, &folder, &SINCE).await;
        assert!(said.contains("nothing has arrived"), "{said}");
    }
    assert_eq!(
        names(&folder),
        [
            "since/000001.ndjson",
            "since/000002.ndjson",
            "since/000003.ndjson"
        ]
    );
    let times = visitors(&folder);
    assert!(times.len() == 300 && times.values().all(|&times| times == 1));

    // Files may go once they are loaded; their numbers are not used again.
    std::fs::remove_dir_all(folder.join("since")).unwrap();
    arrive(&database, 5_000, 10).await;
    pulled(&service, &folder, &SINCE).await;
    assert_eq!(names(&folder), ["since/000004.ndjson"]);
    assert_eq!(manifest(&folder).unwrap()["rows"], 310);

    // The folder is that of a chain, and of this one.
    for other in [
        &WEEK[..],
        &["--since", "--format", "csv"],
        &["--since", "--format", "ndjson", "--country", "DE"],
    ] {
        let before = files(&folder);
        failed(&pull(&service, &folder, other).await, 2);
        assert_eq!(files(&folder), before);
    }
    let (_kept, days) = place();
    pulled(
        &service,
        &days,
        &[&WEEK[..], &["--format", "ndjson"]].concat(),
    )
    .await;
    let said = failed(&pull(&service, &days, &SINCE).await, 2);
    assert!(said.contains("was pulled by days"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_late_are_said_loudly_with_an_exit_code_of_their_own() {
    let database = empty().await;
    let service = service(&database).await;
    let (_kept, folder) = place();
    insert_stamped(&database, 0, 20, 10).await;
    pulled(&service, &folder, &SINCE).await;
    // As an insert that began before that pull and can be seen only now.
    insert_stamped(&database, 100, 7, 10).await;
    arrive(&database, 200, 30).await;
    let said = failed(
        &pull(&service, &folder, &[&SINCE[..], &["--quiet"]].concat()).await,
        3,
    );
    assert!(
        said.contains("7 rows became visible too late") && said.contains("settle_seconds"),
        "{said}"
    );
    // What came in time is there, and the chain goes on.
    let times = visitors(&folder);
    let expected = |id: u64| id < 20 || (200..230).contains(&id);
    assert!(times.len() == 50 && times.iter().all(|(&id, &times)| expected(id) && times == 1));
    assert_eq!(manifest(&folder).unwrap()["late_rows"], 7);
    arrive(&database, 300, 5).await;
    pulled(&service, &folder, &SINCE).await;
    assert_eq!(visitors(&folder).len(), 55);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_is_cut_and_killed_has_every_row_once() {
    let database = empty().await;
    let service = service(&database).await;
    let proxy = Proxy::start(service.address).await;
    let (_kept, folder) = place();
    let rows = 2_000;
    let mut kills = 0;
    for run in 0..12_u64 {
        arrive(&database, run * 100_000, rows).await;
        proxy.cut(Some(3_000_000));
        let mut child = command(&proxy.url, &service.key, &folder, &SINCE)
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        // Killed ever later, once behind the record of the file and in front of the manifest.
        let record = folder.join(".rowspout/record.jsonl");
        let recorded =
            || std::fs::read_to_string(&record).is_ok_and(|text| text.contains("\"arrived\""));
        let asked = proxy.parts().len();
        let mut ended = false;
        until("it comes far", || {
            ended = child.try_wait().unwrap().is_some();
            ended
                || match run % 3 {
                    0 => proxy.parts().len() > asked,
                    _ => recorded(),
                }
        })
        .await;
        child.kill().await.unwrap();
        kills += usize::from(!ended);
        if manifest(&folder).is_some() && run % 4 == 3 {
            proxy.cut(None);
            succeeded(
                &command(&proxy.url, &service.key, &folder, &SINCE)
                    .output()
                    .await
                    .unwrap(),
            );
        }
    }
    proxy.cut(None);
    succeeded(
        &command(&proxy.url, &service.key, &folder, &SINCE)
            .output()
            .await
            .unwrap(),
    );
    let times = visitors(&folder);
    assert!(times.values().all(|&times| times == 1));
    assert_eq!(times.len() as u64, 12 * rows);
    assert!(kills > 1, "{kills}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_seen_before_its_manifest_stays_as_it_is() {
    let database = empty().await;
    let service = service(&database).await;
    let (_kept, folder) = place();
    arrive(&database, 0, 50).await;
    pulled(&service, &folder, &SINCE).await;
    let before = std::fs::read(folder.join("_manifest.json")).unwrap();
    arrive(&database, 100, 50).await;
    pulled(&service, &folder, &SINCE).await;
    let after = manifest(&folder).unwrap();
    let second = std::fs::read(folder.join("since/000002.ndjson")).unwrap();

    // As it is where a pull was killed between the file's name and the manifest.
    std::fs::write(folder.join("_manifest.json"), &before).unwrap();
    let earlier = manifest(&folder).unwrap();
    let mut file = after["files"][1].clone();
    file["path"] = "0123456789abcdef".into();
    let lines = [
        serde_json::json!({"request": earlier["request"]}),
        serde_json::json!({"arrived": {
            "path": "since/000002.ndjson", "file": file, "since": earlier["next_since"],
            "next_since": after["next_since"], "late_rows": 4,
        }}),
    ];
    let record = lines.map(|line| format!("{line}\n")).concat();
    std::fs::write(folder.join(".rowspout/record.jsonl"), &record).unwrap();
    // What lies there besides is somebody else's.
    std::fs::write(folder.join(".rowspout/mine"), "mine").unwrap();
    arrive(&database, 200, 50).await;
    // What the killed one had no time to say is said.
    let said = failed(&pull(&service, &folder, &SINCE).await, 3);
    assert!(said.contains("4 rows became visible too late"), "{said}");
    assert_eq!(
        std::fs::read(folder.join("since/000002.ndjson")).unwrap(),
        second
    );
    let times = visitors(&folder);
    assert!(times.len() == 150 && times.values().all(|&times| times == 1));
    assert!(folder.join(".rowspout/mine").exists());

    // Somebody took the file away that no manifest told: its rows come again, and the chain has no gap.
    std::fs::write(folder.join("_manifest.json"), &before).unwrap();
    std::fs::write(folder.join(".rowspout/record.jsonl"), &record).unwrap();
    for file in ["since/000002.ndjson", "since/000003.ndjson"] {
        std::fs::remove_file(folder.join(file)).unwrap();
    }
    pulled(&service, &folder, &SINCE).await;
    let times = visitors(&folder);
    assert!(times.len() == 150 && times.values().all(|&times| times == 1));

    // A record that goes on from another manifest has lost files in between.
    std::fs::remove_file(folder.join("_manifest.json")).unwrap();
    std::fs::write(folder.join(".rowspout/record.jsonl"), &record).unwrap();
    let said = failed(&pull(&service, &folder, &SINCE).await, 2);
    assert!(said.contains("put that one back"), "{said}");
    // Nor may it speak of files elsewhere.
    let outside = record.replace("0123456789abcdef", "../../../outside");
    std::fs::write(folder.join(".rowspout/record.jsonl"), outside).unwrap();
    let said = failed(&pull(&service, &folder, &SINCE).await, 2);
    assert!(said.contains("is no record"), "{said}");
}
