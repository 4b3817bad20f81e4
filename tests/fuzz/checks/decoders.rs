//! The decoders: any cutting of any bytes gives the same, and rows come back as they were, on either wire.

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use rowspout::decode::{Batch, Decoder, EventType, MAX_BATCH_ROWS, Wire};
use rowspout::error::Position;

use super::super::expected::cut;
use super::super::support::{Row, wire};
use super::input::{blocks, damage, rest, rows, sizes};

/// RowBinary.
pub fn rowbinary(input: &[u8]) {
    let _ = check(Wire::RowBinary, &mut Unstructured::new(input));
}

/// Native, and going over from one wire to the other.
pub fn native(input: &[u8]) {
    let _ = check(Wire::Native, &mut Unstructured::new(input));
}

fn check(wire_of: Wire, u: &mut Unstructured<'_>) -> Result<()> {
    let sizes = sizes(u)?;
    let until = if u.ratio(1, 4)? {
        u.arbitrary()?
    } else {
        i64::MAX
    };
    match u.int_in_range(0..=3)? {
        0 => {
            let bytes = rest(u)?;
            any_bytes(wire_of, bytes, &sizes, until);
        }
        1 => {
            let rows = rows(u, false)?;
            let mut bytes = encoded(u, wire_of, &rows)?;
            damage(u, &mut bytes)?;
            any_bytes(wire_of, &bytes, &sizes, until);
        }
        2 if wire_of == Wire::Native => streams(u, &sizes)?,
        _ => {
            let rows = rows(u, false)?;
            let bytes = encoded(u, wire_of, &rows)?;
            valid(wire_of, &rows, &bytes, &sizes, until);
        }
    }
    Ok(())
}

fn encoded(u: &mut Unstructured<'_>, wire_of: Wire, rows: &[Row]) -> Result<Vec<u8>> {
    match wire_of {
        Wire::RowBinary => Ok(wire(rows)),
        Wire::Native => blocks(u, rows),
    }
}

/// Any cutting decodes the same.
fn any_bytes(wire_of: Wire, bytes: &[u8], sizes: &[usize], until: i64) {
    let whole = decode(wire_of, until, [bytes]);
    assert_same(&whole, decode(wire_of, until, cut(bytes, sizes)));
    if bytes.len() < 1000 {
        assert_same(&whole, decode(wire_of, until, bytes.chunks(1)));
    }
}

/// A row that is damaged and does not come to its end either is refused for the one or the other.
fn assert_same(whole: &Decoded, mut pieces: Decoded) {
    match (&whole.end, &pieces.end) {
        (End::Error(_, Some(one)), End::Inside(_, Some(other)))
        | (End::Inside(_, Some(one)), End::Error(_, Some(other)))
            if one.row == other.row =>
        {
            pieces.end = whole.end.clone();
        }
        _ => {}
    }
    assert_eq!(*whole, pieces);
}

/// Rows come back, up to the end of the range.
fn valid(wire_of: Wire, rows: &[Row], bytes: &[u8], sizes: &[usize], until: i64) {
    let wanted = rows.partition_point(|row| row.timestamp <= until.saturating_sub(1));
    for chunks in [vec![bytes], cut(bytes, sizes)] {
        let decoded = decode(wire_of, until, chunks);
        assert_eq!(decoded.end, End::Clean);
        assert_eq!(decoded.rows.len(), wanted);
        assert_eq!(decoded.passed, wanted < rows.len());
        assert_eq!(decoded.settled, settled(&rows[..wanted]));
        for (found, row) in decoded.rows.iter().zip(rows) {
            assert_eq!(*found, stripped(row));
        }
    }
}

/// Streams on either wire, each broken off in its next row or block, go on where the one before left off.
fn streams(u: &mut Unstructured<'_>, sizes: &[usize]) -> Result<()> {
    let rows = rows(u, false)?;
    let mut decoder = Decoder::new(Wire::RowBinary);
    let mut decoded = Decoded::default();
    let mut left = &rows[..];
    while !left.is_empty() {
        let wire_of = *u.choose(&Wire::ALL)?;
        decoder.restart(wire_of, i64::MAX);
        let (part, behind) = left.split_at(u.int_in_range(1..=left.len())?);
        for chunk in cut(&encoded(u, wire_of, part)?, sizes) {
            decoder.push(Bytes::copy_from_slice(chunk));
            decoded.take(&mut decoder);
        }
        assert!(decoder.finish().is_ok());
        if let Some(next) = behind.first() {
            let next = encoded(u, wire_of, std::slice::from_ref(next))?;
            let broken = u.int_in_range(0..=next.len() - 1)?;
            decoder.push(Bytes::copy_from_slice(&next[..broken]));
            decoded.take(&mut decoder);
        }
        left = behind;
    }
    assert_eq!(decoded.end, End::Clean);
    assert_eq!(decoded.rows.len(), rows.len());
    assert!(
        decoded
            .rows
            .iter()
            .zip(&rows)
            .all(|(found, row)| *found == stripped(row))
    );
    assert_eq!(decoded.settled, settled(&rows));
    Ok(())
}

fn settled(rows: &[Row]) -> u64 {
    rows.iter().filter(|row| !row.fresh).count() as u64
}

/// What of a row a batch holds.
fn stripped(row: &Row) -> Row {
    Row {
        fresh: false,
        ..row.clone()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Clean,
    /// The stream ended inside a row or a block.
    Inside(String, Option<Position>),
    Error(String, Option<Position>),
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Decoded {
    rows: Vec<Row>,
    settled: u64,
    passed: bool,
    overflows: bool,
    end: End,
}

impl Decoded {
    fn take(&mut self, decoder: &mut Decoder) {
        loop {
            match decoder.next_batch() {
                Ok(Some(batch)) => {
                    assert!((1..=MAX_BATCH_ROWS).contains(&batch.rows()));
                    self.settled += batch.settled_rows;
                    self.rows
                        .extend((0..batch.rows()).map(|row| row_of(&batch, row)));
                }
                Ok(None) => return,
                Err(error) => {
                    self.end = End::Error(error.message().to_owned(), error.position());
                    let again = decoder.next_batch();
                    let again = again.expect_err(error.message());
                    assert_eq!(again.message(), error.message());
                    return;
                }
            }
        }
    }
}

fn decode<'a>(wire: Wire, until: i64, chunks: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let mut decoder = Decoder::new(wire);
    decoder.stop_at(until);
    let mut decoded = Decoded::default();
    for chunk in chunks {
        decoder.push(Bytes::copy_from_slice(chunk));
        decoded.take(&mut decoder);
        if decoded.end != End::Clean {
            break;
        }
    }
    decoded.passed = decoder.passed();
    decoded.overflows = decoder.overflows();
    if decoded.end == End::Clean
        && let Err(error) = decoder.finish()
    {
        decoded.end = End::Inside(error.message().to_owned(), error.position());
    }
    let keys = decoded.rows.iter().map(|row| (row.timestamp, row.event_id));
    assert!(keys.is_sorted());
    let last = until.saturating_sub(1);
    assert!(decoded.rows.iter().all(|row| row.timestamp <= last));
    decoded
}

fn row_of(batch: &Batch<'_>, row: usize) -> Row {
    Row {
        timestamp: batch.timestamps[row],
        event_id: batch.event_ids[row],
        offset: batch.offsets[row],
        pageview: batch.event_types[row] == EventType::Pageview,
        fresh: false,
        text: batch.text.map(|text| text.get(row).to_vec()),
    }
}
