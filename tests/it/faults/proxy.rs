//! The proxy that faults happen in. It takes HTTP/1.1 apart, so it knows which query is which, and passes everything on as
//! it comes but for the answer that a fault is meant for.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::http1::{Framing, Head, LAST_CHUNK, Piece, Reader, chunk, header};
use super::meddle::{Answer, Stop, rewrite};
use super::plan::{Fault, Kind, Spot, Target};

/// What a killed engine is told by, with the number of its proxy.
pub(crate) type OnKill = Arc<dyn Fn(usize) + Send + Sync>;

/// A fault in the hands of proxies.
#[derive(Clone)]
pub(crate) struct Play {
    pub(crate) fault: Fault,
    /// Of the unbroken answers.
    pub(crate) lengths: Vec<Exchange>,
    pub(crate) on_kill: Option<OnKill>,
}

/// One answer that passed.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) target: Target,
    /// Bytes on the wire.
    pub(crate) bytes: u64,
    /// The id in an export's head.
    pub(crate) export_id: Option<String>,
}

/// What proxies in front of one Rowspout know together.
#[derive(Default)]
pub(crate) struct Board {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Counts the exports, so that what remains of one is not taken for the next.
    epoch: u64,
    play: Option<Play>,
    seen: HashMap<std::mem::Discriminant<Target>, usize>,
    exchanges: Vec<Exchange>,
    hits: u64,
}

/// What happened while an export ran.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) hits: u64,
    pub(crate) exchanges: Vec<Exchange>,
}

impl Board {
    /// The next export begins.
    pub(crate) fn begin(&self, play: Option<Play>) {
        let mut state = self.state.lock().unwrap();
        *state = State {
            epoch: state.epoch + 1,
            play,
            ..State::default()
        };
    }

    /// The export is over.
    pub(crate) fn end(&self) -> Report {
        let mut state = self.state.lock().unwrap();
        let old = std::mem::take(&mut *state);
        state.epoch = old.epoch + 1;
        Report {
            hits: old.hits,
            exchanges: old.exchanges,
        }
    }

    /// A request came.
    fn asked(&self, request: &[u8]) -> Asked {
        let mut state = self.state.lock().unwrap();
        let epoch = state.epoch;
        let Some(kind) = kind(request) else {
            return Asked {
                epoch,
                slot: None,
                play: None,
            };
        };
        let seen = state.seen.entry(std::mem::discriminant(&kind)).or_default();
        let target = numbered(kind, *seen);
        *seen += 1;
        let meant = |play: &&Play| {
            let wanted = play.fault.target;
            wanted == target || play.fault.repeats && is_further(target, wanted)
        };
        let play = state.play.as_ref().filter(meant).cloned();
        state.exchanges.push(Exchange {
            target,
            bytes: 0,
            export_id: None,
        });
        Asked {
            epoch,
            slot: Some(state.exchanges.len() - 1),
            play,
        }
    }

    fn hit(&self, epoch: u64) {
        let mut state = self.state.lock().unwrap();
        if state.epoch == epoch {
            state.hits += 1;
        }
    }

    fn note(&self, asked: &Asked, note: impl FnOnce(&mut Exchange)) {
        let mut state = self.state.lock().unwrap();
        if let (true, Some(slot)) = (state.epoch == asked.epoch, asked.slot) {
            note(&mut state.exchanges[slot]);
        }
    }
}

/// A request, in the light of the plan.
struct Asked {
    epoch: u64,
    slot: Option<usize>,
    /// The fault, if it is meant for this one.
    play: Option<Play>,
}

/// What a request is for, or `None` where no fault is ever meant for it.
fn kind(request: &[u8]) -> Option<Target> {
    let has = |text: &str| {
        request
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    if has("KILL QUERY") || has("export_log") || has("GET /api/exports/") {
        None
    } else if has("/export?") {
        Some(Target::Export)
    } else if has("multiIf(event_type = 'pageview'") {
        Some(Target::Rows(0))
    } else if has("{slots_from:Int64}") {
        Some(Target::Plan)
    } else if has("AS behind") {
        Some(Target::Proof(0))
    } else {
        Some(Target::Before(0))
    }
}

fn numbered(kind: Target, number: usize) -> Target {
    match kind {
        Target::Rows(_) => Target::Rows(number),
        Target::Proof(_) => Target::Proof(number),
        Target::Before(_) => Target::Before(number),
        Target::Plan | Target::Export => kind,
    }
}

/// Whether an answer comes behind another of its kind.
fn is_further(target: Target, wanted: Target) -> bool {
    match (target, wanted) {
        (Target::Rows(number), Target::Rows(first))
        | (Target::Proof(number), Target::Proof(first))
        | (Target::Before(number), Target::Before(first)) => number > first,
        _ => target == wanted,
    }
}

/// A listening proxy; it ends with the runtime.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) address: String,
    shared: Arc<Shared>,
}

struct Shared {
    number: usize,
    upstream: Mutex<String>,
    board: Arc<Board>,
}

impl Proxy {
    /// Listens in front of an address, `127.0.0.1:80`.
    pub(crate) async fn start(number: usize, upstream: &str, board: &Arc<Board>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            number,
            upstream: Mutex::new(upstream.to_owned()),
            board: board.clone(),
        });
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, serving.clone()));
            }
        });
        Self { address, shared }
    }

    /// Sends connections elsewhere from now on.
    pub(crate) fn turn_to(&self, upstream: &str) {
        *self.shared.upstream.lock().unwrap() = upstream.to_owned();
    }
}

/// The connection behind.
struct Upstream {
    address: String,
    reader: Reader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Upstream {
    async fn connect(address: &str) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        // A client that stalls must be felt behind.
        socket.set_recv_buffer_size(64 << 10)?;
        let stream = socket
            .connect(address.parse().map_err(io::Error::other)?)
            .await?;
        stream.set_nodelay(true)?;
        let (read, writer) = stream.into_split();
        Ok(Self {
            address: address.to_owned(),
            reader: Reader::new(read),
            writer,
        })
    }
}

async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let _ = client.set_nodelay(true);
    let mut begin = [0; 3];
    if matches!(client.peek(&mut begin).await, Ok(3)) && &begin == b"PRI" {
        return serve_http2(client, &shared).await;
    }
    let (read, mut writer) = client.into_split();
    let mut reader = Reader::new(read);
    let mut upstream = None;
    loop {
        match exchange(&mut reader, &mut writer, &mut upstream, &shared).await {
            Ok(()) => {}
            Err(Stop::Fin) => return,
            Err(Stop::Rst) => {
                if let Ok(stream) = reader.into_inner().reunite(writer) {
                    let _ = stream.set_zero_linger();
                }
                return;
            }
        }
    }
}

/// HTTP/2 is passed on as bytes: all that is answered is the export.
async fn serve_http2(client: TcpStream, shared: &Shared) {
    let address = shared.upstream.lock().unwrap().clone();
    let Ok(mut upstream) = Upstream::connect(&address).await else {
        return;
    };
    let asked = shared.board.asked(b"/export?");
    let (mut read, mut writer) = client.into_split();
    let up = tokio::io::copy(&mut read, &mut upstream.writer);
    let down = async {
        let happened = || shared.board.hit(asked.epoch);
        let mut answer = Answer {
            to: &mut writer,
            sent: 0,
            act: asked.play.as_ref().map(|play| (at(play), play.fault.kind)),
            happened: &happened,
        };
        let mut left = Framing::Length(u64::MAX);
        while let Ok(Piece::Data(bytes, _)) = upstream.reader.piece(&mut left).await {
            if let Err(stop) = answer.send(&bytes).await {
                return stop;
            }
            let bytes = answer.sent;
            shared.board.note(&asked, |exchange| exchange.bytes = bytes);
        }
        Stop::Fin
    };
    let stop = tokio::select! {
        _ = up => Stop::Fin,
        stop = down => stop,
    };
    if let (Stop::Rst, Ok(stream)) = (stop, read.reunite(writer)) {
        let _ = stream.set_zero_linger();
    }
}

/// One request and its answer.
async fn exchange(
    client: &mut Reader<OwnedReadHalf>,
    to_client: &mut OwnedWriteHalf,
    upstream: &mut Option<Upstream>,
    shared: &Shared,
) -> Result<(), Stop> {
    let request = tokio::select! {
        request = request(client) => request?,
        // Nothing is asked any more, and who waits for the connection's end must see it.
        () = closed(upstream) => return Err(Stop::Fin),
    };
    let asked = shared.board.asked(&request);
    let fault = asked.play.as_ref().map(|play| &play.fault);
    let spot = fault.map(|fault| fault.spot);
    let stop = match fault.map(|fault| fault.kind) {
        Some(Kind::Rst) => Stop::Rst,
        _ => Stop::Fin,
    };
    if spot == Some(Spot::Unsent) {
        shared.board.hit(asked.epoch);
        return Err(stop);
    }
    let address = shared.upstream.lock().unwrap().clone();
    if upstream.as_ref().is_none_or(|open| open.address != address) {
        *upstream = Some(Upstream::connect(&address).await.map_err(|_| Stop::Fin)?);
    }
    let Some(open) = upstream else {
        return Err(Stop::Fin);
    };
    let written = open.writer.write_all(&request).await;
    written.map_err(|_| Stop::Fin)?;
    let head = tokio::select! {
        head = open.reader.head() => head.ok().flatten().ok_or(Stop::Fin)?,
        () = gone(client) => return Err(Stop::Fin),
    };
    if spot == Some(Spot::Unanswered) {
        shared.board.hit(asked.epoch);
        return Err(stop);
    }
    let rewrites = |kind| matches!(kind, Kind::Polite | Kind::Exception { .. });
    let ok = head.bytes.starts_with(b"HTTP/1.1 200");
    match fault.filter(|fault| ok && rewrites(fault.kind)) {
        Some(fault) => {
            pass_rewritten(client, to_client, open, head, &asked, fault, shared).await?;
        }
        None => pass(client, to_client, open, head, &asked, shared).await?,
    }
    Ok(())
}

/// Waits until a connection that is kept is closed behind.
async fn closed(upstream: &mut Option<Upstream>) {
    match upstream {
        Some(open) => while matches!(open.reader.fill().await, Ok(1..)) {},
        None => std::future::pending().await,
    }
}

/// A whole request as it came.
async fn request(client: &mut Reader<OwnedReadHalf>) -> Result<Bytes, Stop> {
    let head = client.head().await.ok().flatten().ok_or(Stop::Fin)?;
    let mut framing = head.framing;
    let mut request = head.bytes.to_vec();
    let chunked = matches!(framing, Framing::Chunked { .. });
    loop {
        match client.piece(&mut framing).await {
            Ok(Piece::Data(bytes, _)) if chunked => request.extend_from_slice(&chunk(&bytes)),
            Ok(Piece::Data(bytes, _)) => request.extend_from_slice(&bytes),
            Ok(Piece::End) => break,
            _ => return Err(Stop::Fin),
        }
    }
    if chunked {
        request.extend_from_slice(LAST_CHUNK);
    }
    Ok(request.into())
}

/// Waits until a client that should only listen has gone.
async fn gone(client: &mut Reader<OwnedReadHalf>) {
    while matches!(client.fill().await, Ok(1..)) {}
}

/// Passes an answer on, with what happens to its bytes.
async fn pass(
    client: &mut Reader<OwnedReadHalf>,
    to_client: &mut OwnedWriteHalf,
    upstream: &mut Upstream,
    head: Head,
    asked: &Asked,
    shared: &Shared,
) -> Result<(), Stop> {
    note_id(&head, asked, shared);
    let act = asked.play.as_ref().map(|play| (at(play), play.fault.kind));
    let on_kill = asked.play.as_ref().and_then(|play| play.on_kill.clone());
    let happened = || {
        shared.board.hit(asked.epoch);
        if let Some(kill) = &on_kill {
            kill(shared.number);
        }
    };
    let mut answer = Answer {
        to: to_client,
        sent: 0,
        act,
        happened: &happened,
    };
    let mut framing = head.framing;
    let chunked = matches!(framing, Framing::Chunked { .. });
    answer.send(&head.bytes).await?;
    loop {
        let piece = tokio::select! {
            piece = upstream.reader.piece(&mut framing) => piece.map_err(|_| Stop::Fin)?,
            () = gone(client) => return Err(Stop::Fin),
        };
        match piece {
            Piece::Data(bytes, _) if chunked => answer.send(&chunk(&bytes)).await?,
            Piece::Data(bytes, _) => answer.send(&bytes).await?,
            Piece::Broken => return Err(Stop::Fin),
            Piece::End => break,
        }
    }
    if chunked {
        answer.send(LAST_CHUNK).await?;
    }
    let bytes = answer.sent;
    shared.board.note(asked, |exchange| exchange.bytes = bytes);
    Ok(())
}

/// Passes an answer on whose body a fault ends.
async fn pass_rewritten(
    client: &mut Reader<OwnedReadHalf>,
    to_client: &mut OwnedWriteHalf,
    upstream: &mut Upstream,
    head: Head,
    asked: &Asked,
    fault: &Fault,
    shared: &Shared,
) -> Result<(), Stop> {
    note_id(&head, asked, shared);
    let (mut body, mut ends) = (Vec::new(), Vec::new());
    let mut framing = head.framing;
    loop {
        let piece = tokio::select! {
            piece = upstream.reader.piece(&mut framing) => piece.map_err(|_| Stop::Fin)?,
            () = gone(client) => return Err(Stop::Fin),
        };
        match piece {
            Piece::Data(bytes, ended) => {
                body.extend_from_slice(&bytes);
                if ended {
                    ends.push(body.len());
                }
            }
            Piece::Broken => return Err(Stop::Fin),
            Piece::End => break,
        }
    }
    let rewritten = rewrite(&head.bytes, &body, &ends, fault).map_err(|_| Stop::Fin)?;
    shared.board.hit(asked.epoch);
    let mut answer = Answer {
        to: to_client,
        sent: 0,
        act: None,
        happened: &|| {},
    };
    answer.send(&rewritten.head).await?;
    for chunk in &rewritten.chunks {
        answer.send(chunk).await?;
        // Each chunk is seen for itself.
        tokio::task::yield_now().await;
    }
    rewritten.stop.map_or(Ok(()), Err)
}

fn note_id(head: &Head, asked: &Asked, shared: &Shared) {
    if let Some(id) = header(&head.bytes, "x-export-id") {
        let id = Some(id.to_owned());
        shared.board.note(asked, |exchange| exchange.export_id = id);
    }
}

/// The byte of an answer at which its fault happens, by the length that it has when nothing happens.
fn at(play: &Play) -> u64 {
    let wanted = play.fault.target;
    let of = |target| {
        play.lengths
            .iter()
            .find(|exchange| exchange.target == target)
    };
    // What only comes behind a fault is about as long as the first of its kind.
    let length = of(wanted)
        .or_else(|| of(numbered(wanted, 0)))
        .map_or(1_000, |exchange| exchange.bytes);
    match play.fault.spot {
        Spot::Unsent | Spot::Unanswered => 0,
        Spot::Head(byte) => u64::from(byte).min(length.saturating_sub(1)),
        Spot::Middle(millionth) | Spot::RowEnd(millionth) => {
            length * u64::from(millionth) / 1_000_000
        }
        Spot::Tail(bytes) => length.saturating_sub(1 + u64::from(bytes)),
    }
}
