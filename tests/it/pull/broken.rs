//! Connections that are cut, services that are restarted, pulls that are killed.

use std::collections::{BTreeMap, BTreeSet};

use super::proxy::{Proxy, Seen};
use super::*;
use crate::support::service::config;

/// Parts of the week, about 70.
const PARTS: [&str; 4] = ["--part-rows", "150", "--format", "ndjson"];

/// A service over the database with that key, which leaves exports little time when it stops.
async fn service(database: &TestDatabase, key: &str) -> TestService {
    let mut settings = config(&database.config);
    settings.grace = Duration::from_millis(50);
    TestService::start_without_key(settings, key.to_owned()).await
}

/// The parts that came whole more than once, with all that was asked of them. The last request of a connection that was cut does
/// not count, nor one that was refused.
fn repeated(proxy: &Proxy) -> Vec<Seen> {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    let came = |seen: &Seen| !seen.cut && seen.status == Some(200);
    let mut parts = proxy.parts();
    for seen in parts.iter().filter(|seen| came(seen)) {
        *times.entry(seen.target.clone()).or_default() += 1;
    }
    parts.retain(|seen| times.get(&seen.target).is_some_and(|&times| times > 1));
    parts
}

/// What the record of an unfinished pull says that this one fetched: the instants of each part.
fn recorded(folder: &Path) -> BTreeSet<(i64, i64)> {
    let text = std::fs::read_to_string(folder.join(".rowspout/record.jsonl")).unwrap_or_default();
    let whole = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    let lines = whole.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let files = lines.flat_map(|line| {
        let of_days = line["day"]["files"].as_array().cloned();
        let of_days = of_days.unwrap_or_default().into_iter();
        let of_days = of_days.filter(|file| file["earlier"] == false);
        of_days.chain(line.get("fetched").cloned())
    });
    files
        .map(|file| (milliseconds(&file["from"]), milliseconds(&file["to"])))
        .collect()
}

/// The instants of requested parts.
fn asked(proxy: &Proxy) -> BTreeSet<(i64, i64)> {
    let instant = |target: &str, name: &str| {
        let (_, rest) = target.split_once(&format!("{name}=")).expect("an instant");
        milliseconds(&rest.split('&').next().into())
    };
    let parts = proxy.parts();
    parts
        .iter()
        .map(|seen| (instant(&seen.target, "?from"), instant(&seen.target, "&to")))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_and_a_service_that_restarts_twice_cost_nothing_but_time() {
    let database = traffic(150_000).await;
    let first = TestService::start(&database.config).await;
    let key = first.key.clone();
    let unbroken = export(&first, &format!("{WEEK_QUERY}&format=ndjson")).await;
    let proxy = Proxy::start(first.address).await;
    proxy.cut(Some(600_000));
    let (_kept, folder) = place();
    let arguments = [&WEEK[..], &PARTS, &["--retries", "30", "--parallel", "3"]].concat();
    let mut child = command(&proxy.url, &key, &folder, &arguments)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut running = first;
    for asked in [10, 30] {
        until("parts are asked for", || proxy.parts().len() > asked).await;
        running.begin_stop();
        // In flight or not, the service goes away.
        let _ = running.stopped().await;
        running = service(&database, &key).await;
        proxy.turn_to(running.address);
        assert!(child.try_wait().unwrap().is_none(), "it went on");
    }
    let output = child.wait_with_output().await.unwrap();
    succeeded(&output);
    assert!(proxy.cuts() > 5, "{}", proxy.cuts());
    let parts = told_parts(&folder);
    assert!(parts.len() > 60, "{}", parts.len());
    assert_eq!(parts.into_values().collect::<Vec<_>>().concat(), unbroken);
    let repeated = repeated(&proxy);
    assert!(repeated.is_empty(), "{repeated:?}");

    // Another one fetches nothing.
    proxy.cut(None);
    proxy.forget();
    let again = command(&proxy.url, &key, &folder, &arguments)
        .output()
        .await
        .unwrap();
    assert!(succeeded(&again).contains("0 of them were fetched"));
    assert!(proxy.parts().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_is_killed_at_any_moment_goes_on_and_never_shows_a_row_twice() {
    let database = traffic(150_000).await;
    let apart = "ALTER TABLE events UPDATE url = concat(url, '#', toString(event_id)) WHERE 1 SETTINGS mutations_sync = 2";
    run(&database, apart).await;
    let service = TestService::start(&database.config).await;
    let proxy = Proxy::start(service.address).await;
    let query = format!("{WEEK_QUERY}&format=ndjson");
    let (_kept, folder) = place();
    let mut kills = 0;
    // Each round changes rows, and how days are divided, so that files have to make room for others.
    for (round, part_rows) in ["150", "400", "100"].into_iter().enumerate() {
        let unbroken = export(&service, &query).await;
        let rows: BTreeSet<_> = lines(&unbroken).into_iter().collect();
        assert_eq!(rows.len(), lines(&unbroken).len(), "rows can be told apart");
        let arguments = [&WEEK[..], &["--part-rows", part_rows, "--format", "ndjson"]].concat();
        for step in 1..100 {
            let known = recorded(&folder);
            proxy.forget();
            let before = known.len();
            let mut child = command(&proxy.url, &service.key, &folder, &arguments)
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            // Killed when some more parts were asked for, or recorded.
            let many = 2 + (step * 7) % 11;
            let mut ended = None;
            until("parts come", || {
                ended = child.try_wait().unwrap();
                ended.is_some()
                    || if step % 2 == 0 {
                        proxy.parts().len() >= many
                    } else {
                        recorded(&folder).len() >= before + many
                    }
            })
            .await;
            child.kill().await.unwrap();
            // What counted as fetched before was not asked for again, however the days are divided now.
            let again: Vec<_> = asked(&proxy).intersection(&known).copied().collect();
            assert!(again.is_empty(), "{again:?}");
            let mut shown = BTreeSet::new();
            for (name, bytes) in parts(&folder) {
                for line in lines(&bytes) {
                    // Rows of the round before may still be there.
                    assert!(shown.insert(line.to_vec()), "{name} has a row twice");
                }
            }
            if let Some(status) = ended {
                assert!(status.success());
                break;
            }
            kills += 1;
            assert!(manifest(&folder).is_none() || round > 0);
        }
        assert_eq!(
            told_parts(&folder)
                .into_values()
                .collect::<Vec<_>>()
                .concat(),
            unbroken
        );
        let change = "ALTER TABLE events UPDATE city = concat(city, '!') WHERE cityHash64(event_id) % 1000 = 7 \
                      SETTINGS mutations_sync = 2";
        run(&database, change).await;
    }
    assert!(kills > 15, "{kills}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_pull_says_so_and_the_next_one_goes_on() {
    let database = traffic(100_000).await;
    let service = TestService::start(&database.config).await;
    let proxy = Proxy::start(service.address).await;
    for (signal, options) in [
        ("-TERM", &[][..]),
        // Parts under filters have no ETags, and what this pull fetched counts all the same.
        ("-INT", &["--country", "DE", "--country", "FR"]),
    ] {
        let (_kept, folder) = place();
        proxy.forget();
        let arguments = [&WEEK[..], &PARTS, options].concat();
        let child = command(&proxy.url, &service.key, &folder, &arguments)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        until("parts are recorded", || recorded(&folder).len() > 5).await;
        let id = child.id().expect("it runs").to_string();
        let told = std::process::Command::new("kill")
            .args([signal, &id])
            .status();
        assert!(told.unwrap().success());
        let output = child.wait_with_output().await.unwrap();
        assert!(failed(&output, 1).contains("goes on where it stopped"));
        assert!(manifest(&folder).is_none());

        let known = recorded(&folder);
        proxy.forget();
        let again = command(&proxy.url, &service.key, &folder, &arguments)
            .output()
            .await
            .unwrap();
        let said = succeeded(&again);
        assert!(asked(&proxy).is_disjoint(&known));
        let filters = if options.is_empty() {
            ""
        } else {
            "&country=DE&country=FR"
        };
        let unbroken = export(&service, &format!("{WEEK_QUERY}&format=ndjson{filters}")).await;
        assert_eq!(
            told_parts(&folder)
                .into_values()
                .collect::<Vec<_>>()
                .concat(),
            unbroken
        );

        // Complete, only what can be told from others is passed over.
        proxy.forget();
        let third = command(&proxy.url, &service.key, &folder, &arguments)
            .output()
            .await
            .unwrap();
        succeeded(&third);
        assert_eq!(said.contains("have no ETag"), !options.is_empty(), "{said}");
        assert_eq!(proxy.parts().is_empty(), options.is_empty());
        told_parts(&folder);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joined_file_appears_when_it_is_complete_and_is_made_again_where_rows_changed() {
    let database = traffic(100_000).await;
    let service = TestService::start(&database.config).await;
    let proxy = Proxy::start(service.address).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("week.ndjson");
    let arguments = [&WEEK[..], &["--part-rows", "150", "--join"]].concat();
    let pull = || command(&proxy.url, &service.key, &file, &arguments);
    let mut child = pull().stderr(std::process::Stdio::null()).spawn().unwrap();
    let work = folder.path().join(".week.ndjson.rowspout");
    let record = || std::fs::read_to_string(work.join("record.jsonl")).unwrap_or_default();
    until("parts are recorded", || record().lines().count() > 8).await;
    child.kill().await.unwrap();
    assert!(!file.exists());
    let fetched = record().lines().filter(|line| line.ends_with('}')).count() - 1;
    let asked = proxy.parts().len();
    proxy.forget();
    succeeded(&pull().output().await.unwrap());
    assert!(asked > fetched || !proxy.parts().is_empty());
    let query = format!("{WEEK_QUERY}&format=ndjson");
    let unbroken = export(&service, &query).await;
    assert_eq!(std::fs::read(&file).unwrap(), unbroken);
    let of_all = proxy.parts().len() + fetched;
    assert!(of_all >= lines(&unbroken).len() / 151, "{of_all}");

    proxy.forget();
    succeeded(&pull().output().await.unwrap());
    assert!(proxy.parts().is_empty(), "nothing changed");

    let change = "ALTER TABLE events DELETE WHERE toDate(timestamp) = '2026-02-03' SETTINGS mutations_sync = 2";
    run(&database, change).await;
    succeeded(&pull().output().await.unwrap());
    let changed = export(&service, &query).await;
    assert_ne!(changed, unbroken);
    assert_eq!(std::fs::read(&file).unwrap(), changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_moved_in_part_when_a_pull_was_killed_is_moved_by_the_next_one() {
    let database = traffic(60_000).await;
    let service = TestService::start(&database.config).await;
    let proxy = Proxy::start(service.address).await;
    let pull = async |folder: &Path, part_rows: &str| {
        let arguments = [&WEEK[..], &["--format", "ndjson", "--part-rows", part_rows]].concat();
        let output = command(&proxy.url, &service.key, folder, &arguments)
            .output()
            .await;
        succeeded(&output.unwrap());
    };
    let (_kept, after) = place();
    pull(&after, "150").await;
    let unbroken = told_parts(&after)
        .into_values()
        .collect::<Vec<_>>()
        .concat();
    let new: Vec<_> = manifest(&after).unwrap()["files"]
        .as_array()
        .unwrap()
        .clone();
    let day = "2026-02-03";
    let new: Vec<_> = new.into_iter().filter(|file| file["day"] == day).collect();
    assert!(new.len() > 3);
    // How many of the old files are gone, and how many of the new ones are in their place.
    for (gone, moved) in [(0, 0), (1, 0), (2, 0), (2, 1), (2, new.len())] {
        let (_kept, folder) = place();
        pull(&folder, "400").await;
        let before = manifest(&folder).unwrap();
        std::fs::remove_file(folder.join("_manifest.json")).unwrap();
        let mut lines = vec![serde_json::json!({"request": before["request"]})];
        let mut days: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for file in before["files"].as_array().unwrap() {
            let mut file = file.clone();
            file["staged"] = Value::Null;
            file["earlier"] = true.into();
            days.entry(file["day"].as_str().unwrap().to_owned())
                .or_default()
                .push(file);
        }
        let old: Vec<_> = days[day]
            .iter()
            .map(|file| file["path"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(old.len(), 2);
        for (day, files) in days {
            lines.push(serde_json::json!({"day": {"day": day, "files": files}}));
        }
        for path in &old[..gone] {
            std::fs::remove_file(folder.join(path)).unwrap();
        }
        let mut files = new.clone();
        for (number, file) in files.iter_mut().enumerate() {
            let path = file["path"].as_str().unwrap().to_owned();
            let name = format!("{number:016}");
            let to = if number < moved {
                folder.join(&path)
            } else {
                folder.join(".rowspout").join(&name)
            };
            std::fs::copy(after.join(&path), to).unwrap();
            file["staged"] = name.into();
            file["earlier"] = false.into();
        }
        lines.push(serde_json::json!({"day": {"day": day, "files": files}}));
        let record: String = lines.iter().map(|line| format!("{line}\n")).collect();
        // And a line that was not written to its end.
        std::fs::write(
            folder.join(".rowspout/record.jsonl"),
            record + "{\"day\":{\"da",
        )
        .unwrap();
        proxy.forget();
        pull(&folder, "150").await;
        let of_day = proxy
            .parts()
            .into_iter()
            .filter(|seen| seen.target.contains("from=2026-02-03"));
        assert_eq!(of_day.count(), 0, "{gone} {moved}");
        assert_eq!(
            told_parts(&folder)
                .into_values()
                .collect::<Vec<_>>()
                .concat(),
            unbroken
        );
    }
}
