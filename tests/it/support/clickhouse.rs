//! A ClickHouse for tests: one embedded engine for the whole binary, or the server of `ROWSPOUT_CLICKHOUSE_URL`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rowspout::config::ClickHouse;
use rowspout::engine::install::ensure;
use rowspout::engine::process::{EngineCommand, EngineProcess};

/// A database of one test, empty at first.
pub(crate) struct TestDatabase {
    /// How to reach it.
    pub(crate) config: ClickHouse,
    /// A client of it.
    pub(crate) client: clickhouse::Client,
}

/// A fresh database.
pub(crate) async fn clickhouse() -> TestDatabase {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("test_{}_{number}", std::process::id());
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut config = match environment("ROWSPOUT_CLICKHOUSE_URL") {
        Some(url) => ClickHouse {
            url,
            user: environment("ROWSPOUT_CLICKHOUSE_USER"),
            password: environment("ROWSPOUT_CLICKHOUSE_PASSWORD"),
            database: "default".into(),
        },
        None => shared_engine().clickhouse("default"),
    };
    let create = format!("CREATE DATABASE {name}");
    config.client().query(&create).execute().await.unwrap();
    config.database = name;
    TestDatabase {
        client: config.client(),
        config,
    }
}

/// The engine that tests share. It stops when the test process ends, because its standard input ends then.
pub(crate) fn shared_engine() -> &'static EngineProcess {
    static ENGINE: OnceLock<EngineProcess> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let directories = Path::new(env!("CARGO_TARGET_TMPDIR"));
        remove_unused(directories);
        let path = directories.join(format!("{PREFIX}{}", std::process::id()));
        command(&path, &[]).start().unwrap()
    })
}

/// What the shared engines' directories begin with.
const PREFIX: &str = "engine-";

/// Removes the directories of earlier test processes: a process's statics are never dropped.
fn remove_unused(directories: &Path) {
    for entry in std::fs::read_dir(directories).unwrap() {
        let path = entry.unwrap().path();
        let ours = path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .starts_with(PREFIX);
        let unused =
            || File::open(path.join("rowspout.lock")).is_ok_and(|lock| lock.try_lock().is_ok());
        if ours && unused() {
            // Another test process may be doing the same.
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

fn command(path: &Path, arguments: &[&str]) -> EngineCommand {
    let explicit = std::env::var_os("ROWSPOUT_LIBCHDB").map(PathBuf::from);
    EngineCommand {
        program: env!("CARGO_BIN_EXE_rowspout").into(),
        libchdb: ensure(explicit.as_deref()).unwrap(),
        path: path.to_owned(),
        arguments: arguments
            .iter()
            .map(|&argument| argument.to_owned())
            .collect(),
    }
}

/// An engine of one test, which may kill it and start it again on the same directory.
pub(crate) struct OwnEngine {
    process: Option<EngineProcess>,
    directory: tempfile::TempDir,
}

impl OwnEngine {
    /// Starts an engine on an empty directory.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts an engine with further arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let process = Some(command(directory.path(), arguments).start().unwrap());
        Self { process, directory }
    }

    /// The directory of its data.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The process.
    pub(crate) fn process(&self) -> &EngineProcess {
        self.process.as_ref().unwrap()
    }

    /// Ends the process in order.
    pub(crate) fn stop(&mut self) {
        self.process.take().unwrap().stop().unwrap();
    }

    /// Ends the process as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process.take().unwrap().kill().unwrap();
    }

    /// Starts it again.
    pub(crate) fn start_again(&mut self) {
        self.start_again_with(&[]);
    }

    /// Starts it again with further arguments.
    pub(crate) fn start_again_with(&mut self, arguments: &[&str]) {
        self.process = Some(command(self.path(), arguments).start().unwrap());
    }

    /// A client of its default database.
    pub(crate) fn client(&self) -> clickhouse::Client {
        self.process().clickhouse("default").client()
    }
}
