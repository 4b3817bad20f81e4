//! What a pull refuses, with the remedy and the exit code.

use super::*;

/// Starts a service, and pulls the week into a folder.
async fn week() -> (TestDatabase, TestService, tempfile::TempDir, PathBuf) {
    let database = traffic(10_000).await;
    let service = TestService::start(&database.config).await;
    let (kept, folder) = place();
    pulled(&service, &folder, &WEEK).await;
    (database, service, kept, folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_another_request_is_left_alone() {
    let (_database, service, _kept, folder) = week().await;
    let before = files(&folder);
    for other in [
        &["--format", "ndjson"] as &[&str],
        &["--timezone", "Europe/Berlin"],
        &["--country", "DE"],
        &["--fields", "url"],
        &["--include-bots"],
        &["--spreadsheet"],
    ] {
        let said = failed(
            &pull(&service, &folder, &[&WEEK[..], other].concat()).await,
            2,
        );
        assert!(
            said.contains("another request's files") && said.contains("-o"),
            "{said}"
        );
        assert_eq!(files(&folder), before);
    }
    pulled(&service, &folder, &WEEK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_no_pull_made_are_neither_replaced_nor_removed() {
    let (_database, service, _kept, folder) = week().await;
    let own = folder.join("date=2026-02-08/part-000.csv");
    std::fs::create_dir(own.parent().unwrap()).unwrap();
    std::fs::write(&own, "mine").unwrap();
    let said = failed(
        &pull(
            &service,
            &folder,
            &["--start", "2026-02-08", "--end", "2026-02-08"],
        )
        .await,
        2,
    );
    assert!(
        said.contains("part-000.csv") && said.contains("no pull put it there"),
        "{said}"
    );
    assert_eq!(std::fs::read(&own).unwrap(), b"mine");
    // Without its record and its manifest a folder's files are not known.
    std::fs::remove_file(folder.join("_manifest.json")).unwrap();
    std::fs::remove_dir_all(folder.join(".rowspout")).unwrap();
    failed(&pull(&service, &folder, &WEEK).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pulls_into_one_folder_are_refused() {
    let (_database, service, _kept, folder) = week().await;
    let lock = std::fs::File::open(folder.join(".rowspout/lock")).unwrap();
    lock.lock().unwrap();
    let said = failed(&pull(&service, &folder, &WEEK).await, 1);
    assert!(said.contains("another rowspout pull is at work"), "{said}");
    drop(lock);
    pulled(&service, &folder, &WEEK).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_exits_with_2_and_refusals_of_the_service_with_1_and_both_say_why() {
    let database = traffic(1_000).await;
    let service = TestService::start(&database.config).await;
    let (kept, folder) = place();
    let file = kept.path().join("file");
    std::fs::write(&file, "").unwrap();
    let url = format!("http://{}", service.address);
    let nobody = format!("http://{}", crate::support::service::free_address());
    let wrong_key = format!("spk_selfhosted_{}", "0".repeat(32));
    for (url, key, output, arguments, code, says) in [
        (&*url, "", &folder, &WEEK[..], 2, "ROWSPOUT_KEY"),
        (&*url, &*wrong_key, &folder, &WEEK, 1, "key"),
        (
            "localhost:8080",
            &*service.key,
            &folder,
            &WEEK,
            2,
            "https://",
        ),
        (
            &*nobody,
            &*service.key,
            &folder,
            &[&WEEK[..], &["--retries", "1"]].concat(),
            1,
            "cannot be reached",
        ),
        (&*url, &*service.key, &file, &WEEK, 2, "--join"),
        (
            &*url,
            &*service.key,
            &folder,
            &[&WEEK[..], &["--join", "--format", "parquet"]].concat(),
            2,
            "leave --join out",
        ),
        (
            &*url,
            &*service.key,
            &kept.path().to_owned(),
            &[&WEEK[..], &["--join"]].concat(),
            2,
            "is a folder",
        ),
        (
            &*url,
            &*service.key,
            &folder,
            &["--start", "2026-02-01"],
            2,
            "--end",
        ),
        (
            &*url,
            &*service.key,
            &folder,
            &["--start", "2026-02-31", "--end", "2026-03-01"],
            2,
            "start_date",
        ),
        (
            &*url,
            &*service.key,
            &folder,
            &[&WEEK[..], &["--parallel", "0"]].concat(),
            2,
            "--parallel",
        ),
        (
            &*url,
            &*service.key,
            &folder,
            &[&WEEK[..], &["--limit", "3"]].concat(),
            2,
            "--limit",
        ),
        (
            &*url,
            &*service.key,
            &folder,
            &[&WEEK[..], &["--clickhouse-url", "http://a"]].concat(),
            2,
            "leave it out",
        ),
        (
            &*url,
            &*service.key,
            &folder,
            &[&WEEK[..], &["--key-file", "/nowhere"]].concat(),
            2,
            "/nowhere",
        ),
        (
            &*url,
            &*service.key,
            &folder,
            &[&WEEK[..], &["--cacert", "/dev/null"]].concat(),
            2,
            "--cacert",
        ),
    ] {
        let output = command(url, key, output, arguments).output().await.unwrap();
        let said = failed(&output, code);
        assert!(said.contains(says), "{arguments:?}: {said}");
        assert!(key.is_empty() || !said.contains(key), "{said}");
        assert!(manifest(&folder).is_none());
    }
    // Another website than the service has.
    let mut other = tokio::process::Command::new(env!("CARGO_BIN_EXE_rowspout"));
    other
        .args(["pull", &url, "--site", "site_none", "-o"])
        .arg(kept.path().join("none"))
        .args(WEEK);
    let output = other
        .env("ROWSPOUT_KEY", &service.key)
        .output()
        .await
        .unwrap();
    assert!(failed(&output, 1).contains("site_none"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_comes_from_a_file_or_standard_input_as_well() {
    use tokio::io::AsyncWriteExt as _;

    let database = traffic(1_000).await;
    let service = TestService::start(&database.config).await;
    let url = format!("http://{}", service.address);
    let (kept, folder) = place();
    let file = kept.path().join("key");
    std::fs::write(&file, format!("{}\n", service.key)).unwrap();
    let arguments = [&WEEK[..], &["--quiet", "--key-file"]].concat();
    let by_file = [&arguments[..], &[file.to_str().unwrap()]].concat();
    // A broken settings file is of no use to it, and in nobody's way.
    std::fs::write(kept.path().join("rowspout.toml"), "no such setting").unwrap();
    let output = command(&url, "", &folder, &by_file)
        .current_dir(kept.path())
        .output()
        .await;
    assert_eq!(succeeded(&output.unwrap()), "");
    let mut child = command(&url, "", &folder, &[&arguments[..], &["-"]].concat())
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(service.key.as_bytes()).await.unwrap();
    drop(stdin);
    succeeded(&child.wait_with_output().await.unwrap());
}
