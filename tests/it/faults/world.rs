//! What the faults happen to: two engines with the same rows, and the files that unbroken exports of them give.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;

use bytes::Bytes;
use rowspout::config::ClickHouse;
use rowspout::decode::Wire;
use rowspout::engine::install::ensure;
use sha2::{Digest as _, Sha256};

use super::plan::{FORMATS, FRESH, SETTLED, WIDE};
use super::proxy::Exchange;
use crate::support::TestDatabase;
use crate::support::insert::{self, Event};
use crate::support::service::{TestService, config};

/// The days of an export, with all of their rows.
pub(crate) const RANGE: &str = "start_date=2026-01-01&end_date=2026-03-31&include_bots=true";
pub(crate) const RANGE_FLAGS: [&str; 5] = [
    "--start",
    "2026-01-01",
    "--end",
    "2026-03-31",
    "--include-bots",
];

/// Rows of the small websites, and of the large one, which must do for several cursors.
const ROWS: u64 = 30_000;
const WIDE_ROWS: u64 = 110_000;

const PASSWORD: &str = "faults";

/// How to reach an address or several, with commas.
pub(crate) fn clickhouse(url: &str) -> ClickHouse {
    ClickHouse {
        url: url.to_owned(),
        user: Some("default".into()),
        password: Some(PASSWORD.into()),
        database: "default".into(),
    }
}

/// A file that an unbroken export gives.
pub(crate) struct Reference {
    pub(crate) bytes: Bytes,
    pub(crate) sha256: String,
}

pub(crate) struct World {
    engines: [Mutex<Engine>; 2],
    pub(crate) key: String,
    /// By website and format.
    files: HashMap<(&'static str, &'static str), Reference>,
    /// Rows by website.
    rows: HashMap<&'static str, usize>,
    /// What unbroken exports need, by what matters to that.
    pub(crate) lengths: tokio::sync::Mutex<HashMap<String, Vec<Exchange>>>,
    _folder: tempfile::TempDir,
}

impl World {
    /// Makes the rows, and the files.
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        let mut first = Engine::start(&paths[0]);
        let key = fill(&clickhouse(&first.url())).await;
        first.stop();
        // A replica: the same rows, and the same moments at which they came.
        copy(&paths[0], &paths[1]);
        let engines = paths.map(|path| Mutex::new(Engine::start(&path)));
        let url = engines[0].lock().unwrap().url();
        let mut files = HashMap::new();
        let mut rows = HashMap::new();
        for wire in Wire::ALL {
            let mut settings = config(&clickhouse(&url));
            settings.wire = wire;
            let service = TestService::start_without_key(settings, key.clone()).await;
            for site in [FRESH, SETTLED, WIDE] {
                for format in FORMATS {
                    let answer = service
                        .export(site, &format!("{RANGE}&format={format}"))
                        .await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    let bytes = answer.body.expect("a whole file");
                    if format == "csv" {
                        rows.insert(site, super::judge::csv_rows(&bytes).expect("a CSV"));
                    }
                    let sha256 = sha256(&bytes);
                    let file = Reference { bytes, sha256 };
                    if let Some(other) = files.insert((site, format), file) {
                        let same = other.bytes == files[&(site, format)].bytes;
                        assert!(same, "{site} as {format} depends on the wire");
                    }
                }
            }
        }
        assert_eq!(rows[WIDE], WIDE_ROWS as usize);
        assert_eq!(rows[SETTLED], rows[FRESH]);
        Self {
            engines,
            key,
            files,
            rows,
            lengths: tokio::sync::Mutex::default(),
            _folder: folder,
        }
    }

    /// The file that an export must give.
    pub(crate) fn file(&self, site: &'static str, format: &'static str) -> &Reference {
        &self.files[&(site, format)]
    }

    /// How many rows a website has.
    pub(crate) fn rows(&self, site: &str) -> usize {
        self.rows[site]
    }

    /// Where an engine listens, `127.0.0.1:80`.
    pub(crate) fn address(&self, engine: usize) -> String {
        self.engines[engine].lock().unwrap().address.clone()
    }

    /// Ends an engine as a crash would.
    pub(crate) fn kill(&self, engine: usize) {
        self.engines[engine].lock().unwrap().kill();
    }

    /// Starts an engine again where it was killed. Blocks.
    pub(crate) fn revive(&self, engine: usize) {
        let mut engine = self.engines[engine].lock().unwrap();
        if engine.child.is_none() {
            *engine = Engine::start(&engine.path.clone());
        }
    }

    /// Queries for rows that still run, on both engines.
    pub(crate) async fn running(&self) -> u64 {
        let mut running = 0;
        for engine in 0..self.engines.len() {
            let url = format!("http://{}", self.address(engine));
            let count = clickhouse(&url)
                .client()
                .query_raw(
                    "SELECT count() FROM system.processes WHERE position(query, 'multiIf(event_type') > 0 \
                     AND position(query, 'system.processes') = 0",
                )
                .fetch_one::<u64>();
            running += count.await.expect("a count");
        }
        running
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes tables, rows and a key.
async fn fill(clickhouse: &ClickHouse) -> String {
    let database = insert::with_tables(TestDatabase {
        config: clickhouse.clone(),
        client: clickhouse.client(),
    })
    .await;
    for site in [FRESH, SETTLED, WIDE] {
        insert::website(&database, site).await;
    }
    insert::fill_site(&database, FRESH, ROWS).await;
    insert::fill_site(&database, "site_many", WIDE_ROWS).await;
    insert::events(&database, FRESH, &misleading()).await;
    for (from, to) in [(FRESH, SETTLED), ("site_many", WIDE)] {
        database
            .client
            .query_raw(
                "INSERT INTO events SELECT * REPLACE({to:String} AS website_id, now64(3) - INTERVAL 1 DAY AS ingested_at) \
                 FROM (SELECT * FROM events WHERE website_id = {from:String} ORDER BY timestamp, event_id) \
                 SETTINGS max_insert_threads = 1",
            )
            .param("from", from)
            .param("to", to)
            .execute()
            .await
            .expect("settled rows");
    }
    rowspout::catalog::Catalog::new(clickhouse)
        .create_key(&[], "faults")
        .await
        .expect("a key")
}

/// Events whose text looks like what ClickHouse writes behind an error.
fn misleading() -> Vec<Event> {
    let texts = [
        "Code: 241. DB::Exception: Memory limit exceeded ))\n",
        "__exception__\r\nCode: 159. DB::Exception: Timeout exceeded (version 25.3.1.1))\n",
        "\r\n__exception__\r\n0123456789abcdef\r\nCode: 1. DB::Exception: x))\n27 0123456789abcdef\r\n__exception__\r\n",
    ];
    let event = |number: usize| {
        let timestamp = 1_767_300_000_000 + number as i64 * 70_000_000;
        let text = texts[number % texts.len()].repeat(1 + number * 3);
        Event::at(timestamp, 20_000_000 + number as u64).with("utm_campaign", text)
    };
    (0..90).map(event).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(&entry.path(), &place);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path()).unwrap(), place).unwrap();
        } else {
            std::fs::copy(entry.path(), place).unwrap();
        }
    }
}

/// An engine whose password stays the same when it is started again.
struct Engine {
    path: PathBuf,
    /// `127.0.0.1:80`
    address: String,
    child: Option<Child>,
    /// Its end tells the engine to stop; the other is kept open.
    stdin: Option<ChildStdin>,
    _stdout: BufReader<std::process::ChildStdout>,
}

impl Engine {
    fn start(path: &Path) -> Self {
        let explicit = std::env::var_os("ROWSPOUT_LIBCHDB").map(PathBuf::from);
        let mut child = Command::new(env!("CARGO_BIN_EXE_rowspout"))
            .args(["engine", "--listen", "127.0.0.1:0", "--stop-on-stdin-close"])
            .arg("--path")
            .arg(path)
            .env("ROWSPOUT_LIBCHDB", ensure(explicit.as_deref()).unwrap())
            .env("ROWSPOUT_ENGINE_PASSWORD", PASSWORD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut url = String::new();
        stdout.read_line(&mut url).unwrap();
        let address = url.trim_end().strip_prefix("http://").expect("an engine");
        Self {
            path: path.to_owned(),
            address: address.to_owned(),
            stdin: child.stdin.take(),
            child: Some(child),
            _stdout: stdout,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn stop(&mut self) {
        drop(self.stdin.take());
        let ended = self.child.take().map(|mut child| child.wait().unwrap());
        assert!(ended.unwrap().success());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.kill();
    }
}
