//! `rowspout serve` as a process of its own: what it says, and what it holds, can be looked at from outside.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rowspout::catalog::Catalog;

use super::command::rowspout;
use super::service::{free_address, listens};
use super::{Http, TestDatabase};

/// A running `rowspout serve`, and a key that opens every website.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    /// A client that sends the key.
    pub(crate) http: Http,
    child: Child,
    folder: tempfile::TempDir,
}

impl Process {
    /// Starts it over a database with these variables of the environment.
    pub(crate) async fn serve(database: &TestDatabase, settings: &[(&str, &str)]) -> Self {
        let key = Catalog::new(&database.config)
            .create_key(&[], "test")
            .await
            .expect("a key");
        let address = free_address();
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name| File::create(folder.path().join(name)).expect("a file");
        let mut command: Command = rowspout(&database.config);
        let child = command
            .args(["serve", "--listen", &address.to_string()])
            .envs(settings.iter().copied())
            .env("RUST_BACKTRACE", "full")
            .stdout(Stdio::from(file("stdout")))
            .stderr(Stdio::from(file("stderr")))
            .spawn()
            .expect("rowspout starts");
        listens(address).await;
        let headers = format!("Authorization: Bearer {key}\r\n");
        Self {
            address,
            key,
            http: Http::new(&format!("http://{address}"), &headers),
            child,
            folder,
        }
    }

    /// Everything that it has said so far, standard output and standard error.
    pub(crate) fn said(&self) -> String {
        let read = |name| std::fs::read(self.folder.path().join(name)).expect("a file");
        let bytes = [read("stdout"), read("stderr")].concat();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The process's number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("a state").is_none()
    }

    /// Tells it to stop.
    pub(crate) fn tell_to_stop(&self) {
        let told = Command::new("kill")
            .args(["-TERM", &self.id().to_string()])
            .status();
        assert!(told.expect("kill runs").success());
    }

    /// Tells it to stop and waits until it has.
    pub(crate) async fn stop(&mut self) {
        self.tell_to_stop();
        let begun = Instant::now();
        while self.is_alive() {
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Files and sockets that it has open.
    pub(crate) fn open_files(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.id());
        std::fs::read_dir(folder).expect("the process").count()
    }

    /// Memory that it holds, in bytes.
    pub(crate) fn memory(&self) -> usize {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(path).expect("the process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.expect("its memory").trim().trim_end_matches(" kB");
        kib.trim().parse::<usize>().expect("a number") << 10
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
