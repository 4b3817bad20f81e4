//! One part, from the service into a file, and the proof that it is whole.
//!
//! A thread of its own writes what comes and hashes it, while more comes. Holds [`QUEUED_CHUNKS`] chunks of the connection. A
//! file that is not proved is never told of, so it counts for nothing; the next attempt overwrites it.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{CONTENT_ENCODING, ETAG};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::attempts::{Attempt, Failure, insist};
use super::client::{Answer, Client};
use super::disk::unwritable;
use super::pulled::Pulled;
use crate::error::{Error, ErrorKind, Result};
use crate::random;
use crate::receipt::{Moment, Receipt, Sha256Hex, Status, count_rows};
use crate::request::Format;

/// Chunks that wait to be written.
const QUEUED_CHUNKS: usize = 4;

/// Most bytes of a receipt: filters and columns have names, and no values.
const MAX_RECEIPT_BYTES: usize = 256 << 10;

/// Further attempts at a receipt, and the pause while an export is not over yet.
const RECEIPT_RETRIES: u32 = 5;
const RECEIPT_PAUSE: Duration = Duration::from_millis(500);

/// What is asked for.
pub(super) struct Wanted<'a> {
    /// Path and query.
    pub(super) url: &'a str,
    pub(super) website: &'a str,
    pub(super) format: Format,
}

/// A whole file, and what it holds.
pub(super) struct Fetched {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) sha256: Sha256Hex,
    pub(super) export_id: String,
    /// Without a `W/`, with its quotes.
    pub(super) etag: Option<String>,
    /// The head's fields.
    pub(super) headers: HeaderMap,
}

impl Fetched {
    /// The file as a manifest names it; where it lies and what of is the caller's to say.
    pub(super) fn pulled(self, path: String) -> Pulled {
        Pulled {
            path,
            day: None,
            from: None,
            to: None,
            rows: self.rows,
            bytes: self.bytes,
            sha256: self.sha256,
            etag: self.etag,
            export_id: Some(self.export_id),
            fetched: Some(Moment::now()),
        }
    }
}

/// Fetches an export into `file`, which is on the disk and whole when this returns. `progress` hears of the bytes as they come.
///
/// # Errors
///
/// The client's; a body that is not what its receipt says; a disk that takes no more, for which no other attempt is made.
pub(super) async fn fetch(
    client: &Client,
    wanted: &Wanted<'_>,
    file: &Path,
    progress: impl Fn(u64),
) -> Attempt<Fetched> {
    let mut answer = client.get(wanted.url).await?;
    let id = answer.header("x-export-id").filter(|id| is_id(id));
    let export_id = id.map(str::to_owned).ok_or_else(|| {
        Failure::last(Error::internal(
            "the answer has no X-Export-Id, so it is none of Rowspout's: is the address right?",
        ))
    })?;
    if let Some(coding) = answer.headers.get(CONTENT_ENCODING)
        && coding != "identity"
    {
        return Err(Failure::last(Error::internal(
            "something on the way compresses files that were not asked for compressed: switch that off for this service",
        )));
    }
    let etag = answer.headers.get(ETAG).and_then(|tag| tag.to_str().ok());
    let etag = etag.map(|tag| tag.strip_prefix("W/").unwrap_or(tag).to_owned());
    let (written, trailers) = receive(&mut answer, file, progress).await?;
    let Written { bytes, sha256 } = written;
    let receipt = match trailers.as_ref().and_then(told) {
        Some(told) => told,
        None => receipt(client, &export_id, wanted).await?,
    };
    if receipt.bytes != bytes || receipt.sha256 != sha256 {
        return Err(wrong(format!(
            "{bytes} bytes with the SHA-256 {sha256} came, and the receipt of {export_id} has {} with {}: something on the way \
             changes files",
            receipt.bytes, receipt.sha256
        )));
    }
    let (path, format) = (file.to_owned(), wanted.format);
    let counted = blocking(move || count_rows(&path, format)).await;
    let rows = counted.map_err(Failure::again)?;
    if rows != receipt.rows {
        return Err(wrong(format!(
            "the file has {rows} rows, and the receipt of {export_id} has {}",
            receipt.rows
        )));
    }
    Ok(Fetched {
        rows,
        bytes,
        sha256,
        export_id,
        etag,
        headers: answer.headers,
    })
}

/// What is known to the service of a body.
struct Told {
    rows: u64,
    bytes: u64,
    sha256: Sha256Hex,
}

/// A body that cannot be believed. It may be another one next time.
fn wrong(what: String) -> Failure {
    Failure::again(Error::new(ErrorKind::Damaged, what))
}

/// Whether a text has the form of an export's id; it becomes a part of a path.
fn is_id(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= 64 && text.bytes().all(is_plain)
}

/// Whether a text has the form of a hash; it becomes a part of a message.
fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The figures behind the body.
fn told(trailers: &HeaderMap) -> Option<Told> {
    let text = |name: &str| trailers.get(name)?.to_str().ok();
    Some(Told {
        rows: text("x-export-rows")?.parse().ok()?,
        bytes: text("x-export-bytes")?.parse().ok()?,
        sha256: text("x-export-sha256")
            .filter(|text| is_sha256(text))?
            .to_owned(),
    })
}

/// The figures of the receipt, for services behind proxies that let no trailers through.
async fn receipt(client: &Client, id: &str, wanted: &Wanted<'_>) -> Attempt<Told> {
    let target = format!("/api/exports/{id}");
    let ask = || async {
        let body = client.get(&target).await;
        let body = body?.whole(MAX_RECEIPT_BYTES).await?;
        let receipt: Receipt = serde_json::from_slice(&body).map_err(|error| {
            // What it says of the text may repeat that.
            let said = client.plain(&error.to_string());
            let error = Error::internal(format!("the receipt of {id} cannot be read"));
            Failure::last(error.with_detail(said))
        })?;
        // The last byte may be here before the service knows that it is.
        if receipt.status == Status::Running {
            let error = Error::internal(format!("the export {id} is not over by its receipt"));
            return Err(Failure::again(error).not_before(RECEIPT_PAUSE));
        }
        Ok(receipt)
    };
    let receipt = insist(RECEIPT_RETRIES, ask, |_, _| {}).await;
    let receipt = receipt.map_err(Failure::again)?;
    let Receipt {
        status: Status::Complete,
        sha256: Some(sha256),
        ..
    } = &receipt
    else {
        return Err(wrong(format!(
            "the export {id} is {} by its receipt, though its body ended well",
            receipt.status.as_str()
        )));
    };
    if !is_sha256(sha256)
        || receipt.export_id != id
        || receipt.website != wanted.website
        || receipt.format != wanted.format.as_str()
    {
        return Err(wrong(format!(
            "the receipt of {id} is that of another export"
        )));
    }
    Ok(Told {
        rows: receipt.rows,
        bytes: receipt.bytes,
        sha256: sha256.clone(),
    })
}

/// What a thread wrote.
struct Written {
    bytes: u64,
    sha256: Sha256Hex,
}

/// Writes the whole body, and says what came behind it.
async fn receive(
    answer: &mut Answer,
    file: &Path,
    progress: impl Fn(u64),
) -> Attempt<(Written, Option<HeaderMap>)> {
    let (sender, chunks) = mpsc::channel(QUEUED_CHUNKS);
    let path = file.to_owned();
    let writing = tokio::task::spawn_blocking(move || write(&path, chunks));
    let received = pass_on(answer, &sender, progress).await;
    drop(sender);
    // Also where the body was cut: the next attempt must be the only one that writes.
    let written = writing
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)));
    let trailers = received?;
    match written.map_err(|error| unwritable(file, error))? {
        Some(written) => Ok((written, trailers)),
        None => Err(Failure::last(Error::internal("the writing stopped"))),
    }
}

/// Hands a body over to the thread that writes it, and says what came behind it. Where no more is taken, the thread says why.
async fn pass_on(
    answer: &mut Answer,
    to: &mpsc::Sender<Next>,
    progress: impl Fn(u64),
) -> Attempt<Option<HeaderMap>> {
    let mut trailers = None;
    let mut bytes = 0;
    while let Some(frame) = answer.frame().await? {
        match frame.into_data() {
            Ok(chunk) => {
                bytes += chunk.len() as u64;
                if to.send(Next::Chunk(chunk)).await.is_err() {
                    return Ok(None);
                }
                progress(bytes);
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    // Closed where it could not be written.
    let _ = to.send(Next::End).await;
    Ok(trailers)
}

/// What the thread that writes is told.
enum Next {
    Chunk(Bytes),
    /// The whole body was handed over.
    End,
}

/// Writes chunks and hashes them; the file is on the disk when this returns. `None` where the end did not come.
fn write(path: &Path, mut chunks: mpsc::Receiver<Next>) -> std::io::Result<Option<Written>> {
    let mut file = File::create(path)?;
    let mut hash = Sha256::new();
    let mut bytes = 0;
    while let Some(next) = chunks.blocking_recv() {
        let Next::Chunk(chunk) = next else {
            // A power cut must not take back what the record will say is there.
            file.sync_all()?;
            return Ok(Some(Written {
                bytes,
                sha256: random::hex(&hash.finalize()),
            }));
        };
        file.write_all(&chunk)?;
        hash.update(&chunk);
        bytes += chunk.len() as u64;
    }
    Ok(None)
}

/// Does what takes longer than an async thread may be held.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("work on a file stopped").with_source(error))?
}
