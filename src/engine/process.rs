//! The engine as a child process.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::config::ClickHouse;
use crate::error::{Error, Result};
use crate::random;

/// The user that the engine knows.
const USER: &str = "default";
/// Bytes of the random password.
const PASSWORD_BYTES: usize = 16;
/// Time that an engine has to stop by itself; then it is killed.
const STOP_TIME: Duration = Duration::from_secs(30);
/// How often a stopping engine is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// An engine that runs as this process's child. It stops when this is dropped, and when this process ends in any way.
pub struct EngineProcess {
    child: Child,
    /// Its end tells the child that nobody needs it.
    stdin: Option<ChildStdin>,
    /// Kept open, so that nothing the child prints can break it.
    _stdout: BufReader<ChildStdout>,
    url: String,
    password: String,
}

impl std::fmt::Debug for EngineProcess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The password stays out of every log.
        f.debug_struct("EngineProcess")
            .field("url", &self.url)
            .field("id", &self.child.id())
            .finish_non_exhaustive()
    }
}

/// How an engine process is started.
#[derive(Clone, Debug)]
pub struct EngineCommand {
    /// The program; its `engine` subcommand is run.
    pub program: PathBuf,
    /// libchdb, as [`ensure`](super::install::ensure) found it.
    pub libchdb: PathBuf,
    /// The directory of the data.
    pub path: PathBuf,
    /// Further arguments.
    pub arguments: Vec<String>,
}

impl EngineCommand {
    /// This very program, on the directory `path`.
    ///
    /// # Errors
    ///
    /// The system does not tell where the program is.
    pub fn this_program(libchdb: &Path, path: &Path) -> Result<Self> {
        let program = std::env::current_exe().map_err(|error| {
            Error::internal("this program's own file cannot be found").with_source(error)
        })?;
        Ok(Self {
            program,
            libchdb: libchdb.to_owned(),
            path: path.to_owned(),
            arguments: Vec::new(),
        })
    }

    /// Starts the engine on a free port with a random password and waits until it is ready. Blocks for some 0.2 s.
    ///
    /// # Errors
    ///
    /// It cannot be started, or it ends before it is ready; its reason is on standard error then.
    pub fn start(&self) -> Result<EngineProcess> {
        let password = random::hex(&random::bytes::<PASSWORD_BYTES>()?);
        let cannot_start = |error: std::io::Error| {
            Error::internal(format!(
                "the engine cannot be started from {}",
                self.program.display()
            ))
            .with_source(error)
        };
        let mut child = Command::new(&self.program)
            .args([
                "engine",
                "--listen",
                "127.0.0.1:0",
                "--stop-on-stdin-close",
                "--path",
            ])
            .arg(&self.path)
            .args(&self.arguments)
            .env("ROWSPOUT_LIBCHDB", &self.libchdb)
            .env("ROWSPOUT_ENGINE_PASSWORD", &password)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A group of its own: Ctrl-C at a terminal reaches this process only, which may still need the engine.
            .process_group(0)
            .spawn()
            .map_err(cannot_start)?;
        let stdin = child.stdin.take();
        let mut url = String::new();
        let read = match child.stdout.take().map(BufReader::new) {
            Some(mut stdout) => stdout.read_line(&mut url).map(|_| stdout),
            None => Err(std::io::Error::other("it has no standard output")),
        };
        let url = url.trim_end();
        match read {
            Ok(stdout) if url.starts_with("http://") => Ok(EngineProcess {
                child,
                stdin,
                _stdout: stdout,
                url: url.to_owned(),
                password,
            }),
            read => {
                drop(stdin);
                let _ = child.kill();
                let status = child.wait().map_err(cannot_start)?;
                let error = Error::internal("the engine ended before it was ready")
                    .with_detail(status.to_string());
                Err(match read {
                    Ok(_) => error,
                    Err(cause) => error.with_source(cause),
                })
            }
        }
    }
}

impl EngineProcess {
    /// The address of its HTTP interface, as in `http://127.0.0.1:40123`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The password that it asks for; any user will do.
    pub fn password(&self) -> &str {
        &self.password
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How to reach a database of it.
    pub fn clickhouse(&self, database: &str) -> ClickHouse {
        ClickHouse {
            url: self.url.clone(),
            user: Some(USER.into()),
            password: Some(self.password.clone()),
            database: database.into(),
        }
    }

    /// Ends it at once, as a crash would.
    ///
    /// # Errors
    ///
    /// The system refuses.
    pub fn kill(mut self) -> Result<()> {
        self.child
            .kill()
            .and_then(|()| self.child.wait())
            .map(drop)
            .map_err(|error| Error::internal("the engine cannot be killed").with_source(error))
    }

    /// Ends it in order: what it has acknowledged is on disk. Blocks for about a second, at most 30.
    ///
    /// # Errors
    ///
    /// It did not end well.
    pub fn stop(mut self) -> Result<()> {
        let status = self.end().map_err(|error| {
            Error::internal("the engine cannot be waited for").with_source(error)
        })?;
        if status.success() {
            return Ok(());
        }
        Err(Error::internal("the engine did not end well").with_detail(status.to_string()))
    }

    fn end(&mut self) -> std::io::Result<ExitStatus> {
        drop(self.stdin.take());
        let deadline = Instant::now() + STOP_TIME;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(LOOK);
        }
        self.child.kill()?;
        self.child.wait()
    }
}

impl Drop for EngineProcess {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(%error, "the engine cannot be stopped");
        }
    }
}
