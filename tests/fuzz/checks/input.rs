//! A fuzzer's bytes as rows, and as places to cut at.

use arbitrary::{Result, Unstructured};

use super::super::support::native::{As, write_block};
use super::super::support::{EVENT_DATA, HOSTILE, JSONISH, Row};

/// Most rows before they are repeated, and how often they may be.
const MAX_ROWS: usize = 40;
const REPEATS: [usize; 8] = [1, 1, 1, 1, 1, 1, 1, 120];

/// Rows in order. Their times lie in years that files can have if `writable`, or nearly.
pub fn rows(u: &mut Unstructured<'_>, writable: bool) -> Result<Vec<Row>> {
    let mut timestamp = if writable {
        u.int_in_range(-62_167_219_300_000..=253_402_300_900_000)?
    } else {
        u.arbitrary()?
    };
    let mut rows: Vec<Row> = Vec::new();
    let mut long = 0;
    while rows.len() < MAX_ROWS && !u.is_empty() && u.ratio(15, 16)? {
        // The end of a range is behind every row.
        timestamp = i64::saturating_add(timestamp, step(u)?).min(i64::MAX - 1);
        let mut row = Row::at(timestamp, rows.len() as u64);
        row.offset = match u.int_in_range(0..=7)? {
            0 if !writable => u.arbitrary()?,
            0 | 1 => u.int_in_range(-1440..=1440)?,
            _ => 0,
        };
        row.pageview = u.arbitrary()?;
        row.fresh = u.arbitrary()?;
        let present: u16 = u.arbitrary()?;
        for column in 0..15 {
            if present >> column & 1 == 1 {
                row.text[column] = text(u, column, &rows, &mut long)?;
            }
        }
        rows.push(row);
    }
    let once = rows.len();
    let total: usize = rows.iter().flat_map(|row| &row.text).map(Vec::len).sum();
    if total < 5_000 {
        for at in once..once * u.choose(&REPEATS)? {
            let mut row = rows[at % once].clone();
            row.timestamp = rows[at - 1].timestamp;
            row.event_id = at as u64;
            rows.push(row);
        }
    }
    Ok(rows)
}

fn step(u: &mut Unstructured<'_>) -> Result<i64> {
    Ok(match u.int_in_range(0..=7)? {
        0 => u.int_in_range(0..=i64::MAX)?,
        1 => u.int_in_range(0..=200_000_000)?,
        2 => 1000,
        3 => u.int_in_range(0..=2000)?,
        _ => 0,
    })
}

fn text(
    u: &mut Unstructured<'_>,
    column: usize,
    rows: &[Row],
    long: &mut usize,
) -> Result<Vec<u8>> {
    Ok(match u.int_in_range(0..=11)? {
        0 | 1 if !rows.is_empty() => u.choose(rows)?.text[column].clone(),
        2 => u.choose(&HOSTILE)?.to_vec(),
        3 => u.choose(&JSONISH)?.to_vec(),
        4 | 5 if column == EVENT_DATA => json(u)?.into_bytes(),
        // One or two that are longer than what is written in one go.
        6 if *long < 2 => {
            *long += 1;
            let len = u.int_in_range(0..=80_000)?;
            let mut text = vec![u.arbitrary()?; len];
            let piece = u.arbitrary_len::<u8>()?.min(40);
            let piece = u.bytes(piece)?;
            let at = u.int_in_range(0..=len.saturating_sub(piece.len()))?;
            if at + piece.len() <= len {
                text[at..at + piece.len()].copy_from_slice(piece);
            }
            text
        }
        7 => vec![u.arbitrary()?; u.int_in_range(0..=140)?],
        8 => {
            let around = u.choose(&HOSTILE)?;
            let len = u.int_in_range(0..=40)?;
            [&vec![b'a'; len][..], around, &vec![b'b'; 40 - len]].concat()
        }
        _ => {
            let len = usize::from(u.arbitrary::<u8>()?).min(u.len());
            u.bytes(len)?.to_vec()
        }
    })
}

/// Tokens of JSON, one after the other: mostly not JSON.
fn json(u: &mut Unstructured<'_>) -> Result<String> {
    const TOKENS: [&str; 28] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"",
        "\\",
        "\\u12ab",
        "\\ud83d",
        "\\ude00",
        "1",
        "0",
        "-",
        ".5",
        "e",
        "E+30",
        "true",
        "false",
        "null",
        " ",
        "\n",
        "\r",
        "99999999999999999999",
        "\"\u{e9}\":",
        "{\"k\":[1,",
        "]}",
    ];
    let mut text = String::new();
    match u.int_in_range(0..=3)? {
        0 => {
            let depth = u.int_in_range(1..=130)?;
            let (open, close) = *u.choose(&[("[", "]"), ("{\"a\":", "}"), ("\n[ ", " ]")])?;
            text = open.repeat(depth) + "1" + &close.repeat(depth);
        }
        1 => {
            let digits = u.int_in_range(1..=45)?;
            text = "7".repeat(digits);
            if u.arbitrary()? {
                text += &format!("e{}", u.int_in_range(-400..=400)?);
            }
        }
        _ => {
            while text.len() < 300 && u.ratio(15, 16)? {
                text += u.choose(&TOKENS)?;
            }
        }
    }
    Ok(text)
}

/// All bytes that are left.
pub fn rest<'a>(u: &mut Unstructured<'a>) -> Result<&'a [u8]> {
    let len = u.len();
    u.bytes(len)
}

/// Sizes of chunks, in turn.
pub fn sizes(u: &mut Unstructured<'_>) -> Result<Vec<usize>> {
    let mut sizes = Vec::new();
    for _ in 0..u.int_in_range(1..=6)? {
        let size = usize::from(u.arbitrary::<u8>()?);
        // Small ones, and some up to 16 KiB.
        sizes.push(if size < 192 { size } else { (size - 191) * 256 });
    }
    if sizes.iter().all(|size| *size == 0) {
        sizes.push(1);
    }
    Ok(sizes)
}

/// Rows as blocks of any sizes, each column in any way.
pub fn blocks(u: &mut Unstructured<'_>, rows: &[Row]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = rows;
    while !rest.is_empty() {
        let size = match u.int_in_range(0..=3)? {
            0 => u.int_in_range(0..=3)?,
            1 => u.int_in_range(1..=200)?,
            _ => rest.len(),
        };
        let ways = ways(u)?;
        let (block, behind) = rest.split_at(size.min(rest.len()));
        write_block(block, &ways, &mut bytes);
        rest = if u.is_empty() && !behind.is_empty() {
            write_block(behind, &ways, &mut bytes);
            &[]
        } else {
            behind
        };
    }
    Ok(bytes)
}

fn ways(u: &mut Unstructured<'_>) -> Result<[As; 15]> {
    let mut ways = [As::Narrow; 15];
    for way in &mut ways {
        *way = match u.int_in_range(0..=7)? {
            0..=2 => As::Narrow,
            // Few values fit a byte; there may be more than that of them.
            3 => As::Codes(u.int_in_range(2..=3)?),
            _ => As::Strings,
        };
    }
    Ok(ways)
}

/// Some bytes of a stream changed, put in, left out or repeated.
pub fn damage(u: &mut Unstructured<'_>, bytes: &mut Vec<u8>) -> Result<()> {
    for _ in 0..u.int_in_range(0..=4)? {
        let at = u.int_in_range(0..=bytes.len())?;
        match u.int_in_range(0..=4)? {
            0 if at < bytes.len() => bytes[at] = u.arbitrary()?,
            1 if at < bytes.len() => bytes[at] ^= 1 << u.int_in_range(0..=7)?,
            2 => {
                let more = u.len().min(8);
                let more = u.bytes(more)?.to_vec();
                bytes.splice(at..at, more);
            }
            3 => bytes.truncate(at),
            _ => {
                let end = bytes.len().min(at + u.int_in_range(0..=300)?);
                bytes.drain(at..end);
            }
        }
    }
    Ok(())
}
