//! A proxy that cuts connections at random bytes, and knows what was asked for. It passes bytes on and understands no more of
//! them than the first lines of requests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request that passed.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Path and query.
    pub(super) target: String,
    /// Whether its connection was cut, or ended, before another request came over it.
    pub(super) cut: bool,
    /// The status of the answer, as far as one came.
    pub(super) status: Option<u16>,
}

/// A listening proxy; it ends with the runtime.
#[derive(Clone)]
pub(super) struct Proxy {
    pub(super) url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    upstream: SocketAddr,
    seen: Vec<Seen>,
    /// Connections are cut after at most so many bytes of answers.
    longest: Option<u64>,
    random: u64,
    cuts: usize,
}

impl State {
    /// Bytes until the next connection's cut.
    fn budget(&mut self) -> u64 {
        // xorshift64
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.longest
            .map_or(u64::MAX, |longest| self.random % longest)
    }
}

impl Proxy {
    pub(super) async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State {
            upstream,
            seen: Vec::new(),
            longest: None,
            random: 20_260_301,
            cuts: 0,
        }));
        let serving = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, serving.clone()));
            }
        });
        Self { url, state }
    }

    /// New connections go there.
    pub(super) fn turn_to(&self, upstream: SocketAddr) {
        self.state.lock().unwrap().upstream = upstream;
    }

    /// Cuts each connection before so many bytes of answers have passed, or none.
    pub(super) fn cut(&self, longest: Option<u64>) {
        self.state.lock().unwrap().longest = longest;
    }

    pub(super) fn cuts(&self) -> usize {
        self.state.lock().unwrap().cuts
    }

    /// All requests so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// The parts among them.
    pub(super) fn parts(&self) -> Vec<Seen> {
        let mut seen = self.seen();
        seen.retain(|seen| seen.target.contains("/export?"));
        seen
    }

    /// Forgets them.
    pub(super) fn forget(&self) {
        self.state.lock().unwrap().seen.clear();
    }
}

async fn serve(client: TcpStream, state: Arc<Mutex<State>>) {
    let upstream = state.lock().unwrap().upstream;
    let Ok(server) = TcpStream::connect(upstream).await else {
        // As a service that is gone.
        let _ = client.set_zero_linger();
        return;
    };
    let mut left = state.lock().unwrap().budget();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let last = Mutex::new(None);
    let up = async {
        let mut text = Vec::new();
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            text.extend_from_slice(&buffer[..read]);
            while let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = text.drain(..end + 4).collect();
                let head = String::from_utf8_lossy(&head).into_owned();
                let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let mut state = state.lock().unwrap();
                let mut last = last.lock().unwrap();
                if let Some(last) = *last {
                    let seen: &mut Seen = &mut state.seen[last];
                    seen.cut = false;
                }
                *last = Some(state.seen.len());
                state.seen.push(Seen {
                    target,
                    cut: true,
                    status: None,
                });
            }
            if to_server.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    let down = async {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            // An answer begins with the first bytes behind its request.
            if let Some(last) = *last.lock().unwrap()
                && let Some(seen) = state.lock().unwrap().seen.get_mut(last)
                && seen.status.is_none()
            {
                let status = buffer[..read].strip_prefix(b"HTTP/1.1 ");
                let status = status.and_then(|status| status.get(..3));
                let status = status.and_then(|status| str::from_utf8(status).ok());
                seen.status = status.and_then(|status| status.parse().ok());
            }
            let pass = (read as u64).min(left) as usize;
            if to_client.write_all(&buffer[..pass]).await.is_err() {
                return;
            }
            left -= pass as u64;
            if left == 0 {
                state.lock().unwrap().cuts += 1;
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
    if let Ok(client) = from_client.reunite(to_client) {
        let _ = client.set_zero_linger();
    }
}
