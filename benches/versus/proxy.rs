//! A proxy between the service and ClickHouse that notes when queries are outstanding.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// One piece of bytes: when it passed, on which connection, and whether it was ClickHouse's.
#[derive(Clone, Copy)]
struct Passed {
    at: Instant,
    connection: usize,
    answer: bool,
}

/// Bytes that went through since the last look.
type Log = Arc<Mutex<Vec<Passed>>>;

/// A listening proxy; it ends with the runtime.
pub(crate) struct Proxy {
    pub(crate) url: String,
    log: Log,
}

/// What was outstanding within a time.
pub(crate) struct Outstanding {
    pub(crate) queries: usize,
    /// Time in which at least one query had been sent and was not answered to its end.
    pub(crate) time: Duration,
}

impl Proxy {
    /// Listens in front of an `http://` address.
    pub(crate) async fn start(url: &str) -> Self {
        let target = url
            .strip_prefix("http://")
            .expect("an address without TLS, so that queries can be told apart")
            .trim_end_matches('/')
            .to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let log = Log::default();
        let notes = log.clone();
        tokio::spawn(async move {
            let mut connection = 0;
            while let Ok((client, _)) = listener.accept().await {
                connection += 1;
                let server = TcpStream::connect(&target).await.expect("ClickHouse");
                client.set_nodelay(true).expect("a socket");
                server.set_nodelay(true).expect("a socket");
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                tokio::spawn(pass(
                    from_client,
                    to_server,
                    notes.clone(),
                    connection,
                    false,
                ));
                tokio::spawn(pass(
                    from_server,
                    to_client,
                    notes.clone(),
                    connection,
                    true,
                ));
            }
        });
        Self { url, log }
    }

    /// Forgets what went through.
    pub(crate) fn forget(&self) {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// What was outstanding between two moments, by what went through since the last [`Proxy::forget`].
    pub(crate) fn outstanding(&self, from: Instant, until: Instant) -> Outstanding {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open: HashMap<usize, (Instant, Option<Instant>)> = HashMap::new();
        let mut queries = Vec::new();
        for passed in log.iter().filter(|passed| passed.at <= until) {
            let query = open.get_mut(&passed.connection);
            match (query, passed.answer) {
                (Some((_, answered)), true) => *answered = Some(passed.at),
                (Some((_, None)), false) | (None, true) => {}
                (Some((sent, Some(answered))), false) => {
                    queries.push((*sent, *answered));
                    open.insert(passed.connection, (passed.at, None));
                }
                (None, false) => {
                    open.insert(passed.connection, (passed.at, None));
                }
            }
        }
        let last = open.into_values();
        queries.extend(last.map(|(sent, answered)| (sent, answered.unwrap_or(until))));
        queries.sort();
        let mut time = Duration::ZERO;
        let mut covered = from;
        for &(sent, answered) in &queries {
            let sent = sent.max(covered);
            time += answered.saturating_duration_since(sent);
            covered = covered.max(answered);
        }
        Outstanding {
            queries: queries.len(),
            time,
        }
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    log: Log,
    connection: usize,
    answer: bool,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let at = Instant::now();
        log.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Passed {
                at,
                connection,
                answer,
            });
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
