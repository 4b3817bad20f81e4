//! One client: how it takes what it asked for, and what came of it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{AUTHORIZATION, HOST, RETRY_AFTER};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;

use super::abandoned::Leaving;
use super::files::Files;
use super::support::Random;

/// Bytes a second of a slow client.
const SLOW_RATE: f64 = 256.0 * 1024.0;

/// What its system holds for it, in bytes: else the file would be here before it is read.
const SLOW_BUFFER: u32 = 32 << 10;

/// How long a connection outlives a stream that was reset on it.
const CONNECTION_STAYS: Duration = Duration::from_secs(3);

/// Most bytes that a client takes before it leaves.
const LEAVES_WITHIN: u64 = 8 << 20;

/// Longest that a client waits for the head before it leaves.
const LEAVES_AFTER_MS: u64 = 5_000;

/// What a client is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Slow,
    Leaves,
    Fast,
}

impl Kind {
    /// Half are slow, a quarter leaves.
    pub(crate) fn of(number: usize) -> Self {
        match number % 4 {
            0 | 1 => Self::Slow,
            2 => Self::Leaves,
            _ => Self::Fast,
        }
    }
}

/// A client with a key.
pub(crate) struct Client {
    address: Arc<str>,
    key: String,
    kind: Kind,
    http2: bool,
    random: Mutex<Random>,
}

/// How a body is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taking {
    slow: bool,
    /// The client leaves behind so many bytes, or when no head came for so long.
    leaves: Option<(u64, Duration)>,
}

impl Taking {
    pub(crate) const ALL: Self = Self {
        slow: false,
        leaves: None,
    };
}

/// How an export ended for its client.
#[derive(Debug)]
pub(crate) enum Ending {
    /// As a whole body.
    Whole,
    Left,
    /// With a status, and the time until one should come again.
    Refused(u16, Duration),
    /// The client saw that it is no file.
    Broken(String),
}

/// What came of an export.
pub(crate) struct Taken {
    pub(crate) ending: Ending,
    pub(crate) seconds: f64,
    pub(crate) bytes: u64,
    /// The export's id, where a head came.
    pub(crate) id: Option<String>,
}

/// What came of many.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) whole: u64,
    pub(crate) bytes: u64,
    pub(crate) left: u64,
    pub(crate) left_before_the_head: u64,
    pub(crate) busy: u64,
    pub(crate) unfinished: u64,
    /// Bodies that ended as whole ones and are not the file.
    pub(crate) wrong: Vec<String>,
    /// Exports that failed though their client stayed.
    pub(crate) failed: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.whole += other.whole;
        self.bytes += other.bytes;
        self.left += other.left;
        self.left_before_the_head += other.left_before_the_head;
        self.busy += other.busy;
        self.unfinished += other.unfinished;
        self.wrong.extend(other.wrong);
        self.failed.extend(other.failed);
    }
}

impl Client {
    pub(crate) fn new(address: Arc<str>, key: String, kind: Kind, seed: u64) -> Self {
        Self {
            address,
            key,
            kind,
            http2: seed.is_multiple_of(2),
            random: Mutex::new(Random(seed)),
        }
    }

    fn random(&self) -> u64 {
        self.random.lock().unwrap().next()
    }

    /// Asks for an export as this client does, and for the next one when it may.
    pub(crate) async fn export(
        &self,
        files: &Files,
        left: &mpsc::UnboundedSender<Leaving>,
        end: Instant,
        tally: &mut Tally,
    ) {
        let (file, taking) = match self.kind {
            Kind::Slow => (
                files.one(self.random(), 1..=7),
                Taking {
                    slow: true,
                    ..Taking::ALL
                },
            ),
            Kind::Fast => (files.one(self.random(), 1..=90), Taking::ALL),
            Kind::Leaves => {
                let bytes = self.random() % LEAVES_WITHIN;
                let patience = Duration::from_millis(self.random() % LEAVES_AFTER_MS);
                let leaves = Some((bytes, patience));
                (
                    files.one(self.random(), 90..=90),
                    Taking {
                        slow: false,
                        leaves,
                    },
                )
            }
        };
        let mut hash = Sha256::new();
        let taken = self.take(&file.query, taking, |chunk| hash.update(chunk));
        // Who is in the middle of a file when time is up leaves it, too.
        let rest = end.saturating_duration_since(Instant::now());
        let Ok(taken) = tokio::time::timeout(rest, taken).await else {
            tally.unfinished += 1;
            return;
        };
        tally.bytes += taken.bytes;
        match taken.ending {
            Ending::Whole if hash.finalize()[..] == file.sha256 => tally.whole += 1,
            Ending::Whole => tally.wrong.push(file.query.clone()),
            Ending::Left => match taken.id {
                Some(id) => {
                    tally.left += 1;
                    let at = Instant::now();
                    left.send(Leaving { id, at }).expect("somebody watches");
                }
                None => tally.left_before_the_head += 1,
            },
            Ending::Refused(503 | 429, again) => {
                tally.busy += 1;
                // Not all at once.
                let more = Duration::from_millis(self.random() % 1_000);
                tokio::time::sleep(again + more).await;
            }
            Ending::Refused(status, _) => tally.failed.push(format!("{}: {status}", file.query)),
            Ending::Broken(error) => {
                let id = taken.id.unwrap_or_default();
                tally.failed.push(format!("{} {id}: {error}", file.query));
            }
        }
    }

    /// Takes the small file.
    pub(crate) async fn take_small(&self, files: &Files) -> Taken {
        let mut hash = Sha256::new();
        let taken = self.take(&files.small.query, Taking::ALL, |chunk| hash.update(chunk));
        let taken = taken.await;
        if let Ending::Whole = taken.ending {
            assert_eq!(hash.finalize()[..], files.small.sha256, "a wrong file");
        }
        taken
    }

    /// Takes one export over a connection of its own.
    pub(crate) async fn take(
        &self,
        query: &str,
        taking: Taking,
        mut chunk: impl FnMut(&Bytes),
    ) -> Taken {
        let begun = Instant::now();
        let (mut id, mut bytes) = (None, 0);
        let ending = self.ending(query, taking, &mut chunk, &mut id, &mut bytes);
        let ending = ending.await.unwrap_or_else(|error| {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(next) = cause {
                text = format!("{text}: {next}");
                cause = next.source();
            }
            Ending::Broken(text)
        });
        Taken {
            ending,
            seconds: begun.elapsed().as_secs_f64(),
            bytes,
            id,
        }
    }

    async fn ending(
        &self,
        query: &str,
        taking: Taking,
        chunk: &mut impl FnMut(&Bytes),
        id: &mut Option<String>,
        bytes: &mut u64,
    ) -> Result<Ending, Box<dyn std::error::Error + Send + Sync>> {
        let (leaves_at, patience) = taking.leaves.unzip();
        let asked = self.ask(query, taking.slow);
        let asked = match patience {
            Some(patience) => match tokio::time::timeout(patience, asked).await {
                Ok(asked) => asked,
                Err(_) => return Ok(Ending::Left),
            },
            None => asked.await,
        };
        let (mut response, connection) = asked?;
        if !response.status().is_success() {
            let seconds = response.headers().get(RETRY_AFTER);
            let seconds = seconds.and_then(|value| value.to_str().ok()?.parse().ok());
            let again = Duration::from_secs(seconds.unwrap_or(0));
            return Ok(Ending::Refused(response.status().as_u16(), again));
        }
        let found = response.headers()["x-export-id"].to_str()?;
        *id = Some(found.to_owned());
        while let Some(frame) = response.frame().await {
            let frame = frame?;
            let Some(data) = frame.data_ref() else {
                continue;
            };
            *bytes += data.len() as u64;
            chunk(data);
            if leaves_at.is_some_and(|leaves_at| *bytes > leaves_at) {
                if self.http2 {
                    connection.stays();
                }
                return Ok(Ending::Left);
            }
            if taking.slow {
                tokio::time::sleep(Duration::from_secs_f64(data.len() as f64 / SLOW_RATE)).await;
            }
        }
        Ok(Ending::Whole)
    }

    /// Sends the request; the response, and the connection that it comes by.
    async fn ask(
        &self,
        query: &str,
        slow: bool,
    ) -> Result<(Response<Incoming>, Connection), Box<dyn std::error::Error + Send + Sync>> {
        let socket = TcpSocket::new_v4()?;
        if slow {
            socket.set_recv_buffer_size(SLOW_BUFFER)?;
        }
        let stream = TokioIo::new(socket.connect(self.address.parse()?).await?);
        let path = format!("/api/websites/{}/export?{query}", rowspout::demo::SITE);
        let request = Request::get(match self.http2 {
            true => format!("http://{}{path}", self.address),
            false => path,
        });
        let request = request
            .header(HOST, &*self.address)
            .header(AUTHORIZATION, format!("Bearer {}", self.key))
            .body(Empty::<Bytes>::new())?;
        if self.http2 {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
            let connection = Connection::of(connection);
            Ok((sender.send_request(request).await?, connection))
        } else {
            let (mut sender, connection) = http1::handshake(stream).await?;
            let connection = Connection::of(connection);
            Ok((sender.send_request(request).await?, connection))
        }
    }
}

/// A connection that is closed when dropped.
struct Connection(Option<tokio::task::JoinHandle<()>>);

impl Connection {
    fn of(connection: impl Future<Output = Result<(), hyper::Error>> + Send + 'static) -> Self {
        Self(Some(tokio::spawn(async {
            // What ends it is told by the body.
            let _ = connection.await;
        })))
    }

    /// Closes it later.
    fn stays(mut self) {
        let connection = self.0.take();
        tokio::spawn(async move {
            tokio::time::sleep(CONNECTION_STAYS).await;
            if let Some(connection) = connection {
                connection.abort();
            }
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.abort();
        }
    }
}
