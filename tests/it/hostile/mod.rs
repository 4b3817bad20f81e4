//! Requests that mean harm. Each gets the contract's status or a closed connection; the process neither panics nor keeps
//! anything of them, and a good export goes on beside them all the time.

mod frames;
mod http1;
mod http2;
mod names;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::insert::traffic;
use crate::support::process::Process;
use crate::support::{Http, TestDatabase};

const EXPORT: &str = "/api/websites/site_demo/export?start_date=2026-01-01&end_date=2026-03-31";

/// Time after which an answer is late.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much more memory the process may hold behind a whole corpus: what some twenty exports at once held, of 6 MiB each, which
/// the system's allocator keeps for the next ones.
const MAX_GROWTH: usize = 128 << 20;

/// A service under attack, and a good client beside it.
struct Target {
    process: Process,
    good: tokio::task::JoinHandle<usize>,
    over: Arc<AtomicBool>,
    files: usize,
    memory: usize,
    _database: TestDatabase,
}

impl Target {
    /// Starts the service and the good client.
    async fn start() -> Self {
        let database = traffic(20_000).await;
        let settings = [
            ("ROWSPOUT_HEAD_SECONDS", "2"),
            ("ROWSPOUT_STALL_SECONDS", "3"),
            ("ROWSPOUT_MAX_EXPORTS_PER_KEY", "1000"),
            ("ROWSPOUT_FAILED_ATTEMPTS_PER_MINUTE", "100000"),
        ];
        let process = Process::serve(&database, &settings).await;
        let expected = process.http.get(EXPORT).await;
        assert!(expected.complete && expected.body.len() > 1_000_000);
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let headers = format!("Authorization: Bearer {}\r\n", process.key);
        let http = Http::new(&format!("http://{}", process.address), &headers);
        // Both are counted once everything that grows at first has grown.
        let (files, memory) = (process.open_files(), process.memory());
        let good = tokio::spawn(async move {
            let mut exports = 0;
            while !is_over.load(Ordering::Relaxed) {
                let answer = http.get(EXPORT).await;
                assert!(answer.complete && answer.body == expected.body);
                exports += 1;
            }
            exports
        });
        Self {
            process,
            good,
            over,
            files,
            memory,
            _database: database,
        }
    }

    /// Sends bytes, reads until the service closes the connection or says nothing more, and gives what it said.
    async fn send(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        // It may answer and close before it has read everything.
        let _ = stream.write_all(bytes).await;
        read(&mut stream).await
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.process.address)
            .await
            .expect("the service takes connections")
    }

    /// Checks that the service is as it was before, and the good client's files too.
    async fn end(mut self) {
        self.over.store(true, Ordering::Relaxed);
        let exports = self.good.await.expect("every good export was whole");
        assert!(exports > 0, "no good export ended");
        let health = self.process.http.get("/healthz").await;
        assert_eq!(health.status, 200);
        let begun = Instant::now();
        loop {
            let metrics = self.process.http.get("/metrics").await;
            let running = metrics
                .text()
                .lines()
                .any(|line| line.starts_with("rowspout_exports_running") && !line.ends_with(" 0"));
            let files = self.process.open_files();
            if !running && files <= self.files + 8 {
                break;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{files} files are open and {} were; exports run: {running}",
                self.files
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let memory = self.process.memory();
        assert!(
            memory < self.memory + MAX_GROWTH,
            "{memory} bytes are held, and {} were",
            self.memory
        );
        assert!(self.process.is_alive());
        self.process.stop().await;
        let said = self.process.said();
        assert!(!said.contains("panicked"), "{said}");
    }
}

/// Reads a connection until it is closed.
async fn read(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let end = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    // A reset is an end as well; what came before it counts.
    let _ = end.expect("the connection stays open");
    answer
}

/// The statuses of the answers on a connection over HTTP/1.1 or 1.0, in their order.
fn statuses(answer: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answer);
    text.split("HTTP/1.")
        .skip(1)
        .filter_map(|rest| rest.get(2..5)?.parse().ok())
        .collect()
}
