//! What a folder holds from one pull to the next.

use super::proxy::Proxy;
use super::*;

const FORMAT: [&str; 4] = ["--format", "ndjson", "--part-rows", "500"];

/// The days of the parts that were asked for.
fn days(proxy: &Proxy) -> Vec<String> {
    let targets = proxy.parts().into_iter().map(|seen| seen.target);
    let mut days: Vec<_> = targets
        .map(|target| target.split_once("from=").expect("an instant").1[..10].to_owned())
        .collect();
    days.sort();
    days.dedup();
    days
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_change_of_one_day_that_day_alone_is_fetched_again() {
    let database = traffic(60_000).await;
    let service = TestService::start(&database.config).await;
    let proxy = Proxy::start(service.address).await;
    let (_kept, folder) = place();
    let arguments = [&WEEK[..], &FORMAT].concat();
    let pull = || async {
        proxy.forget();
        let output = command(&proxy.url, &service.key, &folder, &arguments)
            .output()
            .await;
        succeeded(&output.unwrap());
        let unbroken = export(&service, &format!("{WEEK_QUERY}&format=ndjson")).await;
        let parts = told_parts(&folder);
        assert_eq!(
            parts.values().cloned().collect::<Vec<_>>().concat(),
            unbroken
        );
        parts
    };
    let before = pull().await;
    assert_eq!(days(&proxy).len(), 7);
    for (change, day) in [
        (
            "UPDATE url = concat(url, '#') WHERE toDate(timestamp) = '2026-02-02' AND event_id % 2 = 0",
            "2026-02-02",
        ),
        (
            "DELETE WHERE toDate(timestamp) = '2026-02-04' AND toHour(timestamp) > 2",
            "2026-02-04",
        ),
    ] {
        run(
            &database,
            &format!("ALTER TABLE events {change} SETTINGS mutations_sync = 2"),
        )
        .await;
        let after = pull().await;
        assert_eq!(days(&proxy), [day]);
        for (name, bytes) in &before {
            assert!(after.get(name) == Some(bytes) || name.contains(day) || day == "2026-02-04");
        }
    }
    assert_eq!(
        parts(&folder)
            .keys()
            .filter(|name| name.contains("2026-02-04"))
            .count(),
        1
    );

    // A day that has no rows any more has no file, and its folder goes as well; what others put beside it stays.
    let strange = folder.join("date=2026-02-05/notes.txt");
    std::fs::write(&strange, "kept").unwrap();
    for day in ["2026-02-04", "2026-02-05"] {
        let delete = format!(
            "ALTER TABLE events DELETE WHERE toDate(timestamp) = '{day}' SETTINGS mutations_sync = 2"
        );
        run(&database, &delete).await;
    }
    proxy.forget();
    let output = command(&proxy.url, &service.key, &folder, &arguments)
        .output()
        .await;
    succeeded(&output.unwrap());
    assert!(proxy.parts().is_empty());
    assert!(!folder.join("date=2026-02-04").exists());
    assert_eq!(std::fs::read(&strange).unwrap(), b"kept");
    std::fs::remove_file(&strange).unwrap();
    assert!(
        told_parts(&folder)
            .keys()
            .all(|name| !name.contains("2026-02-05"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_were_lost_or_changed_are_fetched_again() {
    let database = traffic(60_000).await;
    let service = TestService::start(&database.config).await;
    let proxy = Proxy::start(service.address).await;
    let (_kept, folder) = place();
    let arguments = [&WEEK[..], &FORMAT].concat();
    let pull = |options: &[&str]| {
        proxy.forget();
        let arguments = [&arguments[..], options].concat();
        let mut command = command(&proxy.url, &service.key, &folder, &arguments);
        async move { succeeded(&command.output().await.unwrap()) }
    };
    pull(&[]).await;
    let before = told_parts(&folder);
    let path = |number: usize| folder.join(before.keys().nth(number).unwrap());

    std::fs::remove_file(path(0)).unwrap();
    std::fs::write(path(2), b"short").unwrap();
    pull(&[]).await;
    assert_eq!(proxy.parts().len(), 2);
    assert_eq!(told_parts(&folder), before);

    // As many bytes, but others: only its hash shows it.
    let mut garbled = before.values().nth(3).unwrap().clone();
    garbled[10] ^= 1;
    std::fs::write(path(3), &garbled).unwrap();
    pull(&[]).await;
    assert!(proxy.parts().is_empty());
    assert_ne!(parts(&folder), before);
    pull(&["--verify"]).await;
    assert_eq!(proxy.parts().len(), 1);
    assert_eq!(told_parts(&folder), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_moves_keeps_the_days_behind_it() {
    let database = traffic(60_000).await;
    let service = TestService::start(&database.config).await;
    let proxy = Proxy::start(service.address).await;
    let (_kept, folder) = place();
    for (start, end, fetched) in [
        ("2026-02-01", "2026-02-03", 3),
        ("2026-02-02", "2026-02-04", 1),
        ("2026-02-06", "2026-02-06", 1),
        ("2026-02-01", "2026-02-06", 1),
    ] {
        proxy.forget();
        let arguments = [&["--start", start, "--end", end], &FORMAT[..]].concat();
        let output = command(&proxy.url, &service.key, &folder, &arguments)
            .output()
            .await;
        succeeded(&output.unwrap());
        assert_eq!(days(&proxy).len(), fetched, "{start} {end}");
        let manifest = manifest(&folder).unwrap();
        assert_eq!(manifest["window"]["end_date"], end);
    }
    let query = "start_date=2026-02-01&end_date=2026-02-06&format=ndjson";
    let unbroken = export(&service, query).await;
    assert_eq!(
        told_parts(&folder)
            .into_values()
            .collect::<Vec<_>>()
            .concat(),
        unbroken
    );

    // A window that has only a piece of a day that is there would lose the rest of it.
    let arguments = [
        "--from",
        "2026-02-01T12:00:00Z",
        "--to",
        "2026-02-02T00:00:00Z",
        "--format",
        "ndjson",
    ];
    let said = failed(&super::pull(&service, &folder, &arguments).await, 2);
    assert!(said.contains("ask for the whole day"), "{said}");
    assert_eq!(
        told_parts(&folder)
            .into_values()
            .collect::<Vec<_>>()
            .concat(),
        unbroken
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fresh_rows_have_no_etag_and_are_fetched_until_they_have() {
    let database = traffic(30_000).await;
    let service = TestService::start(&database.config).await;
    let proxy = Proxy::start(service.address).await;
    let (_kept, folder) = place();
    let arguments = [&WEEK[..], &FORMAT].concat();
    let pull = || async {
        proxy.forget();
        let output = command(&proxy.url, &service.key, &folder, &arguments)
            .output()
            .await;
        succeeded(&output.unwrap())
    };
    pull().await;
    let fresh = "INSERT INTO events (website_id, timestamp, event_id, event_type, ingested_at) \
                 VALUES ('site_demo', '2026-02-03 10:00:00', 7, 'event', now64(3))";
    run(&database, fresh).await;
    for _ in 0..2 {
        let said = pull().await;
        assert!(said.contains("1 parts have no ETag"), "{said}");
        assert_eq!(days(&proxy), ["2026-02-03"]);
    }
    run(
        &database,
        "ALTER TABLE events UPDATE ingested_at = ingested_at - INTERVAL 1 HOUR WHERE event_id = 7 SETTINGS mutations_sync = 2",
    )
    .await;
    pull().await;
    assert_eq!(days(&proxy), ["2026-02-03"]);
    let said = pull().await;
    assert!(
        proxy.parts().is_empty() && !said.contains("no ETag"),
        "{said}"
    );
    let unbroken = export(&service, &format!("{WEEK_QUERY}&format=ndjson")).await;
    assert_eq!(
        told_parts(&folder)
            .into_values()
            .collect::<Vec<_>>()
            .concat(),
        unbroken
    );
}
