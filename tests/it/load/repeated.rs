//! Loads that are repeated, broken off, or run at the same time.

use std::path::PathBuf;
use std::time::Duration;

use rowspout::error::ErrorKind;
use rowspout::request::WebsiteId;

use super::Bench;
use crate::support::insert;

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_loaded_once_unless_it_is_wanted_again() {
    let bench = Bench::new().await;
    let csv = "timestamp\n2026-03-03T00:00:00Z\n2026-03-03T00:00:00Z\n";
    bench.load("a.csv", csv).await.expect("loaded");
    // Under another name as well.
    let error = bench.load("b.csv", csv).await.expect_err("twice");
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(
        error.message().contains("--again") && error.message().contains("a.csv"),
        "{error}"
    );
    let mut request = bench.request(bench.file("a.csv", csv));
    request.again = true;
    rowspout::load::load(&bench.config, request)
        .await
        .expect("again");
    insert::website(&bench.database, "site_b").await;
    let mut request = bench.request(bench.file("a.csv", csv));
    request.site = WebsiteId::parse("site_b").expect("an id");
    rowspout::load::load(&bench.config, request)
        .await
        .expect("another website");
    assert_eq!(bench.number("SELECT count() FROM events").await, 6);
    assert_eq!(
        bench
            .number("SELECT uniqExact(website_id, event_id) FROM events")
            .await,
        6
    );
}

/// More rows than two INSERTs have, over two months. Row n has n in its URL.
fn large_file(marked: usize) -> String {
    const DAYS: [&str; 6] = ["02-26", "02-27", "02-28", "03-01", "03-02", "03-03"];
    let mut csv = String::from("timestamp,url\n");
    for row in 0..300_000 {
        let url = if row == marked { "/marked" } else { "/" };
        csv.push_str(&format!(
            "2026-{}T00:00:00Z,{url}{row}\n",
            DAYS[row / 50_000]
        ));
    }
    csv
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_failed_midway_is_repeated_and_doubles_nothing() {
    let bench = Bench::new().await;
    let csv = large_file(200_000);
    bench
        .execute("ALTER TABLE events ADD CONSTRAINT broken CHECK NOT startsWith(url, '/marked')")
        .await;
    let error = bench
        .load("a.csv", &csv)
        .await
        .expect_err("broken on purpose");
    assert!(
        error.message().contains("131072 of 300000 rows") && error.message().contains("repeat"),
        "{error}"
    );
    assert_eq!(bench.number("SELECT count() FROM events").await, 131_072);

    // Some rows of the second INSERT came in, as they do where one of its months was written and the other was not.
    bench
        .execute(
            "INSERT INTO events (website_id, timestamp, event_id, url) \
             SELECT 'site_a', toDateTime64('2026-02-28 00:00:00', 3, 'UTC'), first_id + row, concat('/', toString(row)) \
             FROM loads CROSS JOIN (SELECT 131072 + 7 * number AS row FROM numbers(100)) AS n",
        )
        .await;
    bench
        .execute("ALTER TABLE events DROP CONSTRAINT broken")
        .await;
    let repeated = bench.load("a.csv", &csv).await.expect("repeated");
    assert_eq!((repeated.rows, repeated.there_before), (300_000, 131_172));
    assert_eq!(bench.number("SELECT count() FROM events").await, 300_000);
    assert_eq!(
        bench
            .number("SELECT uniqExact(event_id, url) FROM events")
            .await,
        300_000
    );
    let ordered = "SELECT countIf(toUInt64(extract(url, '[0-9]+')) != event_id - (SELECT any(first_id) FROM loads)) FROM events";
    assert_eq!(bench.number(ordered).await, 0);
    let error = bench
        .load("a.csv", &csv)
        .await
        .expect_err("it is finished now");
    assert!(error.message().contains("--again"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_was_not_noted_as_finished_finds_its_rows() {
    let bench = Bench::new().await;
    let csv = "timestamp\n2026-03-03T00:00:00Z\n2026-04-03T00:00:00Z\n";
    bench.load("a.csv", csv).await.expect("loaded");
    bench.execute("CREATE TABLE begun AS loads").await;
    bench
        .execute("INSERT INTO begun SELECT * REPLACE (toDateTime64(0, 3, 'UTC') AS finished_at) FROM loads LIMIT 1")
        .await;
    bench.execute("EXCHANGE TABLES begun AND loads").await;
    let repeated = bench.load("a.csv", csv).await.expect("repeated");
    assert_eq!((repeated.rows, repeated.there_before), (2, 2));
    assert_eq!(bench.number("SELECT count() FROM events").await, 2);
    let error = bench
        .load("a.csv", csv)
        .await
        .expect_err("it is finished now");
    assert!(error.message().contains("--again"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_missing_in_the_end_are_noticed() {
    let bench = Bench::new().await;
    // A materialised view's target would not do this; a table that forgets does.
    bench
        .execute("CREATE TABLE forgetful AS events ENGINE = Null")
        .await;
    let mut config = bench.config.clone();
    config.events_table = "forgetful".into();
    let request = bench.request(bench.file("a.csv", "timestamp\n2026-03-03T00:00:00Z\n"));
    let error = rowspout::load::load(&config, request)
        .await
        .expect_err("no rows");
    let cause = std::error::Error::source(&error)
        .expect("a cause")
        .to_string();
    assert!(
        cause.contains("holds 0 rows of this load where the file has 1"),
        "{cause}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn loads_at_the_same_time_neither_double_nor_mix() {
    let bench = Bench::new().await;
    let same = large_file(usize::MAX);
    let path = bench.file("same.csv", &same);
    let other = bench.file("other.csv", large_file(17));
    let load = |path: &PathBuf| rowspout::load::load(&bench.config, bench.request(path.clone()));
    let (one, two, three) = tokio::join!(load(&path), load(&path), load(&other));
    // Of the two with the same file, the later may have come when the first had finished.
    three.expect("the other file");
    assert!(one.is_ok() || two.is_ok());
    for result in [one, two] {
        if let Err(error) = result {
            assert!(error.message().contains("--again"), "{error}");
        }
    }
    assert_eq!(bench.number("SELECT count() FROM events").await, 600_000);
    assert_eq!(
        bench.number("SELECT uniqExact(event_id) FROM events").await,
        600_000
    );
    assert_eq!(
        bench
            .number("SELECT countIf(finished_at > started_at) FROM loads FINAL")
            .await,
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_was_killed_midway_is_repeated_and_doubles_nothing() {
    let bench = Bench::new().await;
    let path = bench.file("a.csv", large_file(usize::MAX));
    let mut killed = bench
        .command(&path, "site_a")
        .spawn()
        .expect("rowspout starts");
    while bench.number("SELECT count() FROM events").await == 0 {
        assert!(
            killed.try_wait().expect("its state").is_none(),
            "it ended with no rows"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    killed.kill().expect("killed");
    killed.wait().expect("ended");
    // On a fast machine it may have been through already.
    match rowspout::load::load(&bench.config, bench.request(path)).await {
        Ok(loaded) => assert!(
            loaded.rows == 300_000 && loaded.there_before > 0,
            "{loaded:?}"
        ),
        Err(error) => assert!(error.message().contains("--again"), "{error}"),
    }
    assert_eq!(bench.number("SELECT count() FROM events").await, 300_000);
    assert_eq!(
        bench
            .number("SELECT uniqExact(event_id, url) FROM events")
            .await,
        300_000
    );
}
