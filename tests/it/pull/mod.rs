//! `rowspout pull` against the real service on the embedded engine: what is pulled is the unbroken export, whatever happens.

mod arrivals;
mod broken;
mod liar;
mod places;
mod proxy;
mod refused;
mod tls;
mod whole;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use rowspout::receipt::Moment;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use crate::support::TestDatabase;
use crate::support::insert::{self, settled_traffic as traffic};
use crate::support::service::TestService;

const SITE: &str = "site_demo";

/// The demo's traffic of a week.
const WEEK: [&str; 4] = ["--start", "2026-02-01", "--end", "2026-02-07"];
const WEEK_QUERY: &str = "start_date=2026-02-01&end_date=2026-02-07";

async fn run(database: &TestDatabase, sql: &str) {
    let done = database.client.query_raw(sql).execute().await;
    done.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// A pull of `site_demo` into `output`.
fn command(url: &str, key: &str, output: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rowspout"));
    command
        .args(["pull", url, "--site", SITE, "-o"])
        .arg(output)
        .args(arguments)
        .env("ROWSPOUT_KEY", key)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true);
    command
}

async fn pull(service: &TestService, output: &Path, arguments: &[&str]) -> Output {
    let url = format!("http://{}", service.address);
    let mut command = command(&url, &service.key, output, arguments);
    command.output().await.expect("rowspout runs")
}

/// What a pull that succeeded said.
async fn pulled(service: &TestService, output: &Path, arguments: &[&str]) -> String {
    succeeded(&pull(service, output, arguments).await)
}

fn succeeded(output: &Output) -> String {
    let said = said(output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    said
}

/// What one that did not said.
fn failed(output: &Output, code: i32) -> String {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

fn said(output: &Output) -> String {
    assert!(output.stdout.is_empty(), "all is said on standard error");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Names and contents of all files below a folder but those of records.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().expect("a name").to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            // Another program may be moving them.
            if let Ok(bytes) = std::fs::read(&path) {
                let name = path.strip_prefix(folder).expect("inside");
                files.insert(name.to_string_lossy().into_owned(), bytes);
            }
        }
    }
    files
}

/// The parts, in the order of their names.
fn parts(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = files(folder);
    files.remove("_manifest.json");
    files
}

fn manifest(folder: &Path) -> Option<Value> {
    let text = std::fs::read(folder.join("_manifest.json")).ok()?;
    Some(serde_json::from_slice(&text).expect("JSON"))
}

/// The parts, if the manifest tells every one of them as it is, and no other.
fn told_parts(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let manifest = manifest(folder).expect("a manifest");
    let parts = parts(folder);
    let told = manifest["files"].as_array().expect("files");
    let names: Vec<_> = told
        .iter()
        .map(|file| file["path"].as_str().expect("a path"))
        .collect();
    assert_eq!(names, parts.keys().map(String::as_str).collect::<Vec<_>>());
    for (file, bytes) in told.iter().zip(parts.values()) {
        assert_eq!(file["bytes"], bytes.len());
        assert_eq!(file["sha256"], hex(&Sha256::digest(bytes)));
    }
    parts
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of an unbroken export.
async fn export(service: &TestService, query: &str) -> Vec<u8> {
    let answer = service.export(SITE, query).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.body.expect("a complete body").to_vec()
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came to this: {what}");
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n').collect()
}

/// A path below a test's own folder.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("events");
    (folder, place)
}

fn milliseconds(text: &Value) -> i64 {
    let Moment(ms) = serde_json::from_value(text.clone()).expect("an instant");
    ms
}
