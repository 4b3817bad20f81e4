//! What a fault does to an answer: to its bytes on the wire, or to its body before it is put into chunks.

use std::io;
use std::time::Duration;

use rowspout::decode::{Decoder, FIXED_ROW_BYTES, Wire};
use rowspout::pushdown::columns::TEXT_COLUMNS;
use tokio::io::AsyncWriteExt as _;
use tokio::net::tcp::OwnedWriteHalf;

use super::http1::{LAST_CHUNK, chunk, header};
use super::plan::{Dialect, Ending, Fault, Kind, Pieces, Spot};

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Fin,
    Rst,
}

/// How long a stream that stops for good is kept open, longer than anybody waits.
const FOR_GOOD: Duration = Duration::from_secs(250);

/// An answer on its way, with the byte at which something happens.
pub(crate) struct Answer<'a> {
    pub(crate) to: &'a mut OwnedWriteHalf,
    /// Bytes so far.
    pub(crate) sent: u64,
    /// Where and what; done once.
    pub(crate) act: Option<(u64, Kind)>,
    /// Told when it happens.
    pub(crate) happened: &'a (dyn Fn() + Send + Sync),
}

impl Answer<'_> {
    /// Sends bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let before = match self.act {
            Some((at, _)) if at < self.sent + bytes.len() as u64 => (at - self.sent) as usize,
            _ => return self.write(bytes).await,
        };
        let (first, rest) = bytes.split_at(before);
        self.write(first).await?;
        let act = self.act.take();
        (self.happened)();
        let Some((_, kind)) = act else { return Ok(()) };
        match kind {
            Kind::Fin => return Err(Stop::Fin),
            Kind::Rst => return Err(Stop::Rst),
            Kind::Stall(milliseconds) => {
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            }
            Kind::StallForGood => {
                tokio::time::sleep(FOR_GOOD).await;
                return Err(Stop::Fin);
            }
            Kind::Trickle => {
                let (slow, rest) = rest.split_at(rest.len().min(TRICKLE_BYTES));
                for piece in slow.chunks(TRICKLE_PIECE) {
                    self.write(piece).await?;
                    tokio::time::sleep(TRICKLE_PAUSE).await;
                }
                return self.write(rest).await;
            }
            Kind::Garble(bits) => {
                let mut garbled = rest.to_vec();
                garbled[0] ^= bits;
                return self.write(&garbled).await;
            }
            // The engine's end is what happens then; the others are done to bodies.
            Kind::Kill | Kind::Polite | Kind::Exception { .. } => {}
        }
        self.write(rest).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.sent += bytes.len() as u64;
        self.to.write_all(bytes).await.map_err(|_| Stop::Fin)
    }
}

/// A trickle: so many bytes, in such pieces, with a pause behind each.
const TRICKLE_BYTES: usize = 3_000;
const TRICKLE_PIECE: usize = 7;
const TRICKLE_PAUSE: Duration = Duration::from_millis(2);

/// What becomes of an answer whose body a fault rewrites.
pub(crate) struct Rewritten {
    pub(crate) head: Vec<u8>,
    /// As they stand on the wire, the last one too where it comes.
    pub(crate) chunks: Vec<Vec<u8>>,
    pub(crate) stop: Option<Stop>,
}

/// Ends a body early, politely or with the text of an error. `ends` says where its chunks ended.
pub(crate) fn rewrite(
    head: &[u8],
    body: &[u8],
    ends: &[usize],
    fault: &Fault,
) -> io::Result<Rewritten> {
    let encoding = header(head, "content-encoding").unwrap_or("");
    let plain = match encoding {
        "zstd" => zstd::stream::decode_all(body)?,
        // Its frames are cut as bytes.
        _ => body.to_vec(),
    };
    // Rows of a compressed stream begin anywhere in its chunks.
    let ends = if encoding.is_empty() { ends } else { &[] };
    let cut = place(&plain, ends, fault);
    let mut kept = plain[..cut].to_vec();
    let (text, pieces, ending) = match fault.kind {
        Kind::Exception {
            dialect,
            code,
            pieces,
            ending,
        } => {
            let tag = header(head, "x-clickhouse-exception-tag").unwrap_or("dmrdfnujjqvszhav");
            (exception(dialect, code, tag), pieces, ending)
        }
        _ => (Vec::new(), Pieces::Joined, Ending::Polite),
    };
    let mut chunks = Vec::new();
    if encoding == "zstd" {
        kept.extend_from_slice(&text);
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1)?;
        encoder.include_checksum(true)?;
        io::Write::write_all(&mut encoder, &kept)?;
        kept = encoder.finish()?;
        chunks.extend(kept.chunks(CHUNK).map(chunk));
    } else {
        let texts: Vec<&[u8]> = match pieces {
            Pieces::Own => vec![&text],
            Pieces::Joined => {
                kept.extend_from_slice(&text);
                vec![]
            }
            Pieces::Split(at) => {
                let (first, second) = text.split_at(text.len() * usize::from(at) / 1_000);
                vec![first, second]
            }
            Pieces::Bytes => text.chunks(1).collect(),
        };
        chunks.extend(kept.chunks(CHUNK).map(chunk));
        let texts = texts.into_iter().filter(|text| !text.is_empty());
        chunks.extend(texts.map(chunk));
    }
    let stop = match ending {
        Ending::Polite => {
            chunks.push(LAST_CHUNK.to_vec());
            None
        }
        Ending::Fin => Some(Stop::Fin),
        Ending::Rst => Some(Stop::Rst),
    };
    Ok(Rewritten {
        head: chunked_head(head),
        chunks,
        stop,
    })
}

/// Bytes of a chunk.
const CHUNK: usize = 16 << 10;

/// The head of an answer in chunks.
fn chunked_head(head: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(head).unwrap_or("");
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let name = line.split(':').next().unwrap_or("").to_ascii_lowercase();
        if name != "content-length" && name != "transfer-encoding" {
            out.push_str(line);
            out.push_str("\r\n");
        }
    }
    out.push_str("transfer-encoding: chunked\r\n\r\n");
    out.into_bytes()
}

/// Where a body is cut, in bytes.
fn place(plain: &[u8], ends: &[usize], fault: &Fault) -> usize {
    let at = |millionth: u32| (plain.len() as u64 * u64::from(millionth) / 1_000_000) as usize;
    match fault.spot {
        Spot::Unsent | Spot::Unanswered | Spot::Head(_) => 0,
        Spot::Middle(millionth) => at(millionth),
        Spot::Tail(_) => plain.len(),
        Spot::RowEnd(millionth) => {
            let from = at(millionth);
            // A cursor of rows begins with one's first byte; the other wire with its number of columns.
            match plain.first() {
                Some(1..=4) => row_end(plain, from),
                _ => block_end(plain, ends, from),
            }
            .unwrap_or(from)
        }
    }
}

/// The first end of a row from a byte on.
fn row_end(rows: &[u8], from: usize) -> Option<usize> {
    let mut at = 0;
    while at < from {
        at += FIXED_ROW_BYTES;
        for _ in TEXT_COLUMNS {
            let (mut length, mut shift) = (0_usize, 0);
            loop {
                let byte = *rows.get(at)?;
                at += 1;
                if shift > 28 {
                    // These are no rows.
                    return None;
                }
                length |= usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            at += length;
        }
        // The end.
        at += 1;
    }
    (at <= rows.len()).then_some(at)
}

/// The first end of a block from a byte on, of those at which a chunk ended.
fn block_end(blocks: &[u8], ends: &[usize], from: usize) -> Option<usize> {
    let mut decoder = Decoder::new(Wire::Native);
    let mut begin = 0;
    for &end in ends {
        decoder.push(bytes::Bytes::copy_from_slice(blocks.get(begin..end)?));
        while decoder.next_batch().ok()?.is_some() {}
        begin = end;
        if end >= from && decoder.finish().is_ok() {
            return Some(end);
        }
    }
    None
}

/// The text of an error.
fn exception(dialect: Dialect, code: u16, tag: &str) -> Vec<u8> {
    let name = match code {
        241 => "MEMORY_LIMIT_EXCEEDED",
        159 => "TIMEOUT_EXCEEDED",
        394 => "QUERY_WAS_CANCELLED",
        202 => "TOO_MANY_SIMULTANEOUS_QUERIES",
        _ => "KEEPER_EXCEPTION",
    };
    let message = |version: &str| {
        format!(
            "Code: {code}. DB::Exception: Something went wrong: while executing \
             'FUNCTION formatRow('RowBinary', url)'. ({name}) (version {version} (official build))"
        )
    };
    match dialect {
        Dialect::Plain => format!("{}\n", message("24.10.1.2812")),
        Dialect::Marked => format!("__exception__\r\n{}\n", message("25.3.1.1")),
        Dialect::Tagged => {
            let message = format!("{}\n", message("25.11.1.1"));
            format!(
                "\r\n__exception__\r\n{tag}\r\n{message}{} {tag}\r\n__exception__\r\n",
                message.len()
            )
        }
    }
    .into_bytes()
}
