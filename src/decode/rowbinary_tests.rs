#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on fails

use bytes::Bytes;
use proptest::prelude::*;

use super::super::row::HEAD_BYTES;
use super::super::{EventType, MAX_BATCH_ROWS};
use super::*;
use crate::pushdown::columns::TEXT_COLUMNS;

#[path = "../../benches/support/mod.rs"]
pub(crate) mod support;

use support::{Corpus, ROW_END, Row, wire, write_length};

/// Rows as the decoder gives them.
#[derive(Debug, Default)]
struct Decoded {
    rows: Vec<Row>,
    settled: u64,
    batches: Vec<usize>,
    error: Option<Error>,
}

/// The rows of a batch: it doesn't say which of them are fresh.
pub(crate) fn rows_of<'a>(batch: &Batch<'a>) -> impl Iterator<Item = Row> + use<'a> {
    let batch = *batch;
    (0..batch.rows()).map(move |row| Row {
        timestamp: batch.timestamps[row],
        event_id: batch.event_ids[row],
        offset: batch.offsets[row],
        pageview: batch.event_types[row] == EventType::Pageview,
        fresh: false,
        text: std::array::from_fn(|column| batch.text[column].get(row).to_vec()),
    })
}

fn take(decoder: &mut RowBinaryDecoder, decoded: &mut Decoded) {
    loop {
        match decoder.next_batch() {
            Ok(Some(batch)) => {
                assert!(batch.rows() > 0 && batch.rows() <= MAX_BATCH_ROWS);
                decoded.batches.push(batch.rows());
                decoded.settled += batch.settled_rows;
                decoded.rows.extend(rows_of(&batch));
                assert_eq!(decoder.rows(), decoded.rows.len() as u64);
            }
            Ok(None) => return,
            Err(error) => {
                decoded.error = Some(error);
                return;
            }
        }
    }
}

fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (RowBinaryDecoder, Decoded) {
    let mut decoder = RowBinaryDecoder::new();
    let mut decoded = Decoded::default();
    for chunk in chunks {
        decoder.push(Bytes::copy_from_slice(chunk));
        take(&mut decoder, &mut decoded);
        if decoded.error.is_some() {
            break;
        }
    }
    (decoder, decoded)
}

/// What a decoder gives for these rows: it doesn't say which of them are fresh.
fn expected(rows: &[Row]) -> Vec<Row> {
    let mut rows = rows.to_vec();
    for row in &mut rows {
        row.fresh = false;
    }
    rows
}

fn short_rows() -> Vec<Row> {
    let mut rows = Corpus::Hostile.rows(6);
    rows[2].text[0] = vec![b'x'; 300];
    rows[3].fresh = true;
    rows[4].text = Default::default();
    rows
}

#[test]
fn rows_are_decoded_as_they_were_written() {
    for corpus in Corpus::ALL {
        let rows = corpus.rows(3000);
        let wire = wire(&rows);
        let (decoder, decoded) = decode([&wire[..]]);
        assert!(decoded.error.is_none());
        assert_eq!(decoded.rows, expected(&rows));
        assert_eq!(
            decoded.settled,
            rows.iter().filter(|row| !row.fresh).count() as u64
        );
        assert_eq!(
            decoder.last_key(),
            rows.last().map(|row| (row.timestamp, row.event_id))
        );
        decoder.finish().unwrap();
    }
}

#[test]
fn a_row_cut_at_any_byte_decodes_the_same() {
    let rows = short_rows();
    let wire = wire(&rows);
    let all = expected(&rows);
    for first in 0..=wire.len() {
        let (decoder, decoded) = decode([&wire[..first], &wire[first..]]);
        assert!(decoded.error.is_none(), "{first}: {:?}", decoded.error);
        assert_eq!(decoded.rows, all, "{first}");
        decoder.finish().unwrap();
    }
    for size in 1..=70 {
        let (decoder, decoded) = decode(wire.chunks(size));
        assert_eq!(decoded.rows, all, "{size}");
        decoder.finish().unwrap();
    }
}

#[test]
fn a_stream_cut_inside_a_row_is_an_error_at_its_end() {
    let rows = short_rows();
    let whole = wire(&rows);
    let mut ends = vec![0];
    for row in &rows {
        ends.push(ends[ends.len() - 1] + wire(std::slice::from_ref(row)).len());
    }
    for end in 0..whole.len() {
        let (decoder, decoded) = decode([&whole[..end]]);
        assert!(decoded.error.is_none());
        let result = decoder.finish();
        if let Ok(rows) = ends.binary_search(&end) {
            assert_eq!(decoded.rows.len(), rows);
            result.unwrap();
        } else {
            let error = result.unwrap_err();
            let row = decoded.rows.len() as u64 + 1;
            assert_eq!(
                error.message(),
                format!("the stream from ClickHouse ended inside row {row}")
            );
            let position = error.position().unwrap();
            assert_eq!(position.row, Some(row));
            assert_eq!(position.byte, Some(ends[decoded.rows.len()] as u64));
        }
    }
}

#[test]
fn a_damaged_row_stays_one_however_it_was_cut() {
    let mut row = wire(&[Row::at(5, 1)]);
    // A text that makes the row longer than what was waited for, and then a length that is none.
    row.splice(19..21, [&[1, b'a'][..], &[0xff; 5]].concat());
    for size in 1..=row.len() {
        let mut decoder = RowBinaryDecoder::new();
        let mut chunks = row.chunks(size);
        let error = loop {
            decoder.push(Bytes::copy_from_slice(chunks.next().unwrap()));
            if let Err(error) = decoder.next_batch() {
                break error;
            }
        };
        let again = decoder.next_batch().unwrap_err();
        assert_eq!(again.to_string(), error.to_string(), "chunks of {size}");
    }
}

#[test]
fn the_row_behind_the_end_of_a_range_is_neither_waited_for_nor_looked_at() {
    let wanted = wire(&[Row::at(5, 1)]);
    let mut behind = wire(&[Row::at(6, 1)]);
    // The length of its first text is none.
    behind[19..24].fill(0xff);
    for end in 19..=behind.len() {
        let bytes = [&wanted[..], &behind[..end]].concat();
        for size in 1..=bytes.len() {
            let mut decoder = RowBinaryDecoder::new();
            decoder.stop_at(6);
            let mut decoded = Decoded::default();
            for chunk in bytes.chunks(size) {
                decoder.push(Bytes::copy_from_slice(chunk));
                take(&mut decoder, &mut decoded);
            }
            assert!(decoded.error.is_none(), "{end} bytes by {size}");
            assert_eq!(decoded.rows.len(), 1);
            assert!(decoder.passed());
            decoder.finish().unwrap();
        }
    }
}

/// ClickHouse's text of an exception in each of its dialects, and the code in it.
pub(crate) const EXCEPTIONS: [(&str, Option<u32>); 3] = [
    (
        "Code: 159. DB::Exception: Timeout exceeded (version 24.10)\n",
        Some(159),
    ),
    (
        "__exception__\r\nCode: 395. DB::Exception: boom\n",
        Some(395),
    ),
    (
        "\r\n__exception__\r\nabcdefgh\r\nCode: 395. DB::Exception: boom\n31 abcdefgh\r\n__exception__\r\n",
        Some(395),
    ),
];

/// What may come where rows were cut: each dialect, with as much text as a row's longest one may want, and with bytes of other
/// lengths in front.
pub(crate) fn long_exceptions() -> impl Iterator<Item = Vec<u8>> {
    let boundless = "exceeded: would use 9.31 GiB, maximum: 8.00 GiB. ".repeat(9);
    EXCEPTIONS.into_iter().map(move |(text, _)| {
        let text = text.replacen("DB::Exception: ", &format!("DB::Exception: {boundless}"), 1);
        text.into_bytes()
    })
}

#[test]
fn no_exception_completes_a_row_wherever_both_are_cut() {
    let rows = short_rows();
    let bytes = wire(&rows);
    let all = expected(&rows);
    let before = &rows[..rows.len() - 1];
    let last = bytes.len() - wire(before).len();
    let mut seemed_whole = 0;
    for missing in 1..last {
        let cut = &bytes[..bytes.len() - missing];
        for text in long_exceptions() {
            for end in 1..=text.len() {
                let stream = [cut, &text[..end]].concat();
                let (decoder, decoded) = decode([&stream[..]]);
                assert_eq!(decoded.rows, all[..before.len()], "{missing} {end}");
                let Some(error) = decoded.error else {
                    let error = decoder.finish().unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::BrokenOff);
                    continue;
                };
                seemed_whole += 1;
                assert_eq!(error.kind(), ErrorKind::BrokenOff, "{missing} {end}");
            }
            let stream = [cut, &text[..]].concat();
            let (_, whole) = decode([&stream[..]]);
            let (_, pieces) = decode(stream.chunks(1));
            assert_eq!(pieces.rows, whole.rows);
            let message = |decoded: Decoded| decoded.error.map(|error| error.message().to_owned());
            assert_eq!(message(pieces), message(whole));
        }
    }
    assert!(seemed_whole > 1000, "{seemed_whole}");
}

#[test]
fn a_row_that_does_not_end_as_one_is_nothing_to_go_on_from() {
    let rows = [Row::at(1, 1), Row::at(2, 2), Row::at(3, 3)];
    for (row, delivered) in [(1, 0), (2, 1)] {
        let mut bytes = wire(&rows);
        bytes[wire(&rows[..row]).len() - 1] = 0;
        for size in 1..=bytes.len() {
            let (decoder, decoded) = decode(bytes.chunks(size));
            let error = decoded.error.unwrap();
            assert_eq!(decoded.rows, rows[..delivered]);
            let kind = [ErrorKind::Internal, ErrorKind::Damaged][delivered];
            assert_eq!(error.kind(), kind, "{error}");
            assert_eq!(decoder.rows(), delivered as u64);
        }
    }
}

#[test]
fn what_clickhouse_appends_behind_the_rows_is_never_a_row() {
    let rows = short_rows();
    for (text, code) in EXCEPTIONS
        .into_iter()
        .chain([("\0", None), ("\u{5}", None)])
    {
        let mut bytes = wire(&rows);
        let end = bytes.len();
        bytes.extend_from_slice(text.as_bytes());
        for size in [1, 7, 64, bytes.len()] {
            let (mut decoder, decoded) = decode(bytes.chunks(size));
            let error = decoded.error.unwrap();
            assert_eq!(decoded.rows, expected(&rows));
            assert_eq!(
                error.message(),
                "the stream from ClickHouse broke off at row 7"
            );
            let position = error.position().unwrap();
            assert_eq!((position.row, position.byte), (Some(7), Some(end as u64)));
            if size == bytes.len() {
                assert_eq!(error.clickhouse_code(), code, "{error}");
                let detail = error.detail().unwrap();
                assert!(
                    !detail.contains("boom") && !detail.contains('\0'),
                    "{detail}"
                );
            }
            assert!(decoder.next_batch().is_err(), "the error stays");
        }
    }
}

#[test]
fn the_log_keeps_nothing_of_what_is_no_row() {
    let (_, decoded) = decode([&[b'!'; 100_000][..]]);
    let error = decoded.error.unwrap();
    assert!(!error.detail().unwrap().contains('!'), "{error}");
}

#[test]
fn rows_out_of_order_are_an_error() {
    for (next, ok) in [
        ((5, 9), true),
        ((5, 8), true),
        ((5, 7), false),
        ((4, 99), false),
        ((6, 0), true),
    ] {
        let rows = [Row::at(1, 1), Row::at(5, 8), Row::at(next.0, next.1)];
        let bytes = wire(&rows);
        for size in [1, 30, 50, bytes.len()] {
            let (decoder, decoded) = decode(bytes.chunks(size));
            assert_eq!(decoded.error.is_none(), ok, "{next:?}");
            if ok {
                assert_eq!(decoder.last_key(), Some(next));
                assert_eq!(decoder.last_key_is_unique(), next != (5, 8));
            } else {
                assert_eq!(decoded.rows.len(), 2);
                assert_eq!(decoder.last_key(), Some((5, 8)));
                let error = decoded.error.unwrap();
                assert!(
                    error.message().starts_with("rows out of order: row 3"),
                    "{error}"
                );
            }
        }
    }
    let smallest = [Row::at(i64::MIN, 0), Row::at(i64::MIN, 0)];
    let (decoder, decoded) = decode([&wire(&smallest)[..]]);
    assert!(decoded.error.is_none());
    assert!(!decoder.last_key_is_unique());
    let (decoder, _) = decode([&wire(&smallest[..1])[..]]);
    assert!(decoder.last_key_is_unique());
}

#[test]
fn a_batch_ends_at_its_limits() {
    let rows: Vec<_> = (0..20_000).map(|i| Row::at(i, 0)).collect();
    let (_, decoded) = decode([&wire(&rows)[..]]);
    assert_eq!(decoded.rows.len(), rows.len());
    // The first lane ends where the second began: as far on as half of the most rows could come, or in the middle of the rest.
    let [long, short] = [2786, 1643];
    let batches = [long, long, long, long, long, long, short, short - 2];
    assert_eq!(decoded.batches, batches);

    let mut rows: Vec<_> = (0..50).map(|i| Row::at(i, 0)).collect();
    for row in &mut rows {
        row.text[0] = vec![b'x'; 100_000];
    }
    let (_, decoded) = decode([&wire(&rows)[..]]);
    assert_eq!(decoded.rows.len(), rows.len());
    assert_eq!(decoded.batches, [11, 11, 11, 11, 6]);
    assert_eq!(decoded.rows, rows);
}

#[test]
fn lengths_of_any_size_are_read_without_believing_them() {
    let head = &wire(&[Row::at(1, 1)])[..HEAD_BYTES];
    for (length, long) in [
        (&[0xff, 0xff, 0xff, 0xff, 0x0f][..], true),
        (&[0xff, 0xff, 0xff, 0xff, 0x10], false),
        (&[0xff, 0xff, 0xff, 0xff, 0x7f], false),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01], false),
        (&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00], false),
        (&[0x80, 0x80, 0x80, 0x20], true),
    ] {
        let mut bytes = head.to_vec();
        bytes.extend_from_slice(length);
        bytes.resize(bytes.len() + 100, 0);
        for size in [1, 3, 33, bytes.len()] {
            let (decoder, decoded) = decode(bytes.chunks(size));
            let error = decoded.error.unwrap();
            if long {
                assert!(error.message().contains("longer than 32 MiB"), "{error}");
            } else {
                assert!(error.message().contains("more than 32 bits"), "{error}");
                assert_eq!(error.position().unwrap().column, Some("url"));
            }
            assert!(decoder.partial.bytes().len() < 200);
        }
    }
    // The column is named wherever it is.
    for (place, name) in TEXT_COLUMNS.iter().enumerate() {
        let mut bytes = head.to_vec();
        bytes.resize(bytes.len() + place, 0);
        bytes.extend_from_slice(&[0xff; 6]);
        bytes.resize(bytes.len() + 100, 0);
        for size in [1, 7, bytes.len()] {
            let (_, decoded) = decode(bytes.chunks(size));
            let column = decoded.error.unwrap().position().unwrap().column;
            assert_eq!(column, Some(*name));
        }
    }
    // A length may be written longer than it needs to be.
    for groups in 1..=5 {
        let mut bytes = head.to_vec();
        bytes.extend_from_slice(&[0x81, 0x80, 0x80, 0x80, 0x80][..groups]);
        match groups {
            1 => bytes[HEAD_BYTES] = 1,
            _ => bytes[HEAD_BYTES + groups - 1] = 0,
        }
        bytes.push(b'u');
        bytes.resize(bytes.len() + 14, 0);
        bytes.push(ROW_END);
        for size in 1..=bytes.len() {
            let (_, decoded) = decode(bytes.chunks(size));
            assert_eq!(decoded.rows[0].text[0], b"u", "{groups} groups");
        }
    }
    // All groups count.
    for length in [0x7f, 0x80, 0x3fff, 0x4000, 0x1f_ffff, 0x20_0000, 20 << 20] {
        let mut row = Row::at(1, 1);
        row.text[0] = vec![b'x'; length];
        let (_, decoded) = decode([&wire(&[row])[..]]);
        assert_eq!(decoded.rows[0].text[0].len(), length);
    }
    // What is longer than four groups can say is written as the longest that they can.
    let mut bytes = head.to_vec();
    bytes.extend_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
    bytes.resize(bytes.len() + 100, 0);
    for size in 1..=bytes.len() {
        let (_, decoded) = decode(bytes.chunks(size));
        let error = decoded.error.expect("too long");
        assert!(error.message().contains("longer than 32 MiB"), "{error}");
    }
}

#[test]
fn a_claimed_length_takes_no_more_room_than_twice_what_has_arrived() {
    let mut bytes = wire(&[Row::at(1, 1)])[..HEAD_BYTES].to_vec();
    write_length(30 << 20, &mut bytes);
    bytes.resize(100_000, b'x');
    let (decoder, _) = decode(bytes.chunks(1000));
    assert_eq!(decoder.partial.bytes().len(), bytes.len());
    assert!(decoder.partial.capacity() <= 2 * bytes.len());
}

#[test]
fn a_large_row_in_small_chunks_is_looked_at_once() {
    let mut row = Row::at(1, 1);
    for text in &mut row.text {
        *text = vec![b'x'; 2 << 20];
    }
    let rows = [Row::at(1, 1), row, Row::at(2, 2)];
    let bytes = wire(&rows);
    let (decoder, decoded) = decode(bytes.chunks(8 << 10));
    assert!(decoded.error.is_none(), "{:?}", decoded.error);
    assert_eq!(decoded.rows, rows);
    assert!(
        decoder.partial.capacity() <= 256 << 10,
        "the room is given back"
    );
}

#[test]
fn a_row_longer_than_the_limit_is_refused_by_name_however_it_arrives() {
    let mut row = Row::at(2, 2);
    let least = wire(&[Row::at(1, 1)]).len();
    row.text[3] = vec![b'x'; MAX_ROW_BYTES - least];
    let mut rows = [Row::at(1, 1), row];
    let longest = wire(&rows);
    assert_eq!(longest.len(), least + MAX_ROW_BYTES);
    rows[1].text[3].push(b'x');
    let longer = wire(&rows);
    for size in [1 << 20, 64 << 20] {
        let (_, decoded) = decode(longest.chunks(size));
        assert!(decoded.error.is_none());
        assert_eq!(decoded.rows.len(), 2);
        let (_, decoded) = decode(longer.chunks(size));
        assert_eq!(decoded.rows.len(), 1);
        let error = decoded.error.unwrap();
        assert!(
            error.message().starts_with("row 2 is longer than 32 MiB"),
            "{error}"
        );
    }
}

#[test]
fn a_length_that_ends_as_an_exception_begins_is_still_one() {
    // The last group of the length that goes over the limit is CR, or the `C` of `Code`.
    for (place, first, len) in [
        (2, 6 << 20, usize::from(b'\r') << 21),
        (1, MAX_ROW_BYTES - 100, usize::from(b'C')),
    ] {
        let mut row = Row::at(1, 1);
        row.text[0] = vec![b'x'; first];
        row.text[place] = vec![b'x'; len];
        let bytes = wire(&[row]);
        let (_, decoded) = decode(bytes.chunks(1 << 20));
        let error = decoded.error.expect("too long");
        assert!(error.message().contains("longer than 32 MiB"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn chunks_of_any_size_give_the_same_rows(
        sizes in proptest::collection::vec(prop_oneof![1usize..40, 1usize..2000], 1..50),
        count in 1usize..60,
    ) {
        let rows = Corpus::Hostile.rows(count);
        let bytes = wire(&rows);
        let mut chunks = Vec::new();
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            let (chunk, behind) = rest.split_at(rest.len().min(*size));
            chunks.push(chunk);
            rest = behind;
            if rest.is_empty() { break; }
        }
        let (decoder, decoded) = decode(chunks);
        prop_assert!(decoded.error.is_none());
        prop_assert_eq!(decoded.rows, expected(&rows));
        prop_assert!(decoder.finish().is_ok());
    }

    #[test]
    fn bytes_of_any_kind_never_panic(
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), 0u8..5, Just(0x80u8)], 0..400),
        size in 1usize..100,
    ) {
        let (decoder, decoded) = decode(bytes.chunks(size));
        let (whole_decoder, whole) = decode([&bytes[..]]);
        // The same rows and an error at the same row, however they were cut: at the latest when the stream ends,
        // because a row in pieces is only looked at when as many bytes are there as it needs.
        prop_assert_eq!(decoded.rows, whole.rows);
        let row = |error: Error| error.position().unwrap().row;
        let end = |error: Option<Error>, decoder: &RowBinaryDecoder| error.or(decoder.finish().err()).map(row);
        prop_assert_eq!(end(decoded.error, &decoder), end(whole.error, &whole_decoder));
    }

    #[test]
    fn damaged_rows_never_panic(at in 0usize..3000, byte: u8, size in 1usize..300) {
        let mut bytes = wire(&Corpus::Hostile.rows(20));
        let at = at % bytes.len();
        bytes[at] = byte;
        let (_, decoded) = decode(bytes.chunks(size));
        let (_, whole) = decode([&bytes[..]]);
        prop_assert_eq!(decoded.rows, whole.rows);
        prop_assert_eq!(decoded.settled, whole.settled);
    }

    /// Whatever is changed, what is read in two lanes is what is read row by row: small chunks have no second lane.
    #[test]
    fn two_lanes_read_what_one_does(
        at in 0usize..40_000,
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(ROW_END), 1u8..5], 0..40),
        cut in 0usize..40_000,
        misleading: bool,
    ) {
        let rows = if misleading { rows_that_mislead(60) } else { Corpus::Hostile.rows(60) };
        let mut wire = wire(&rows);
        let at = at % wire.len();
        let behind = (at + bytes.len() / 2).min(wire.len());
        wire.splice(at..behind, bytes);
        wire.truncate(wire.len().saturating_sub(cut % 3000));
        let (decoder, decoded) = decode([&wire[..]]);
        let (one_lane_decoder, one_lane) = decode(wire.chunks(1000));
        prop_assert_eq!(decoded.rows, one_lane.rows);
        prop_assert_eq!(decoded.settled, one_lane.settled);
        prop_assert_eq!(decoder.last_key(), one_lane_decoder.last_key());
        let row = |error: Error| error.position().unwrap().row;
        let end = |error: Option<Error>, decoder: &RowBinaryDecoder| error.or(decoder.finish().err()).map(row);
        prop_assert_eq!(end(decoded.error, &decoder), end(one_lane.error, &one_lane_decoder));
    }
}

/// Rows of texts that look like the end of a row and the beginning of another one, wherever one looks.
fn rows_that_mislead(count: usize) -> Vec<Row> {
    let inner = wire(&[Row::at(5, 5)]);
    (0..count)
        .map(|i| {
            let mut row = Row::at(1000 + i as i64, i as u64);
            row.text[i % 15] = [&[ROW_END][..], &inner].concat().repeat(1 + i % 9);
            row.text[(i + 7) % 15] = vec![ROW_END; i % 40];
            row
        })
        .collect()
}

#[test]
fn a_second_lane_that_began_inside_of_a_text_changes_nothing() {
    let rows = rows_that_mislead(400);
    let wire = wire(&rows);
    for size in [1 << 10, 1500, 4 << 10, 20_000, wire.len()] {
        let (decoder, decoded) = decode(wire.chunks(size));
        assert!(decoded.error.is_none(), "{size}: {:?}", decoded.error);
        assert_eq!(decoded.rows, expected(&rows), "{size}");
        decoder.finish().unwrap();
    }
}

#[test]
fn rows_of_two_lanes_are_in_order_and_unique_as_those_of_one() {
    let whole = Corpus::PageViews.rows(200);
    let bytes = wire(&whole);
    let mut decoder = RowBinaryDecoder::new();
    decoder.push(bytes.clone().into());
    let first = decoder.next_batch().unwrap().unwrap().rows();
    let ahead = decoder.ahead.unwrap().rows;
    assert!(first + ahead <= 200 && first > 0 && ahead > 0);

    // The second lane's first row has the key of the last one in front of it, or a smaller one.
    for (key, ends) in [(0, true), (1, false)] {
        let mut rows = whole.clone();
        let before = (rows[first - 1].timestamp, rows[first - 1].event_id);
        (rows[first].timestamp, rows[first].event_id) = (before.0 - key, before.1);
        let (decoder, decoded) = decode([&wire(&rows)[..]]);
        assert_eq!(decoded.error.is_none(), ends);
        if ends {
            assert_eq!(decoded.rows, expected(&rows));
        } else {
            assert_eq!(decoded.rows, expected(&rows[..first]));
            let position = decoded.error.unwrap().position().unwrap();
            let bytes = wire(&rows[..first]).len() as u64;
            assert_eq!(position.row, Some(first as u64 + 1));
            assert_eq!(position.byte, Some(bytes));
            assert_eq!(decoder.last_key(), Some(before));
        }
    }
}

#[test]
fn what_was_read_ahead_is_not_delivered_once_the_end_comes_nearer() {
    let rows = Corpus::PageViews.rows(200);
    let mut decoder = RowBinaryDecoder::new();
    decoder.push(wire(&rows).into());
    let first = decoder.next_batch().unwrap().unwrap().rows();
    assert!(decoder.ahead.is_some());
    let until = rows[first].timestamp + 1;
    decoder.stop_at(until);
    let mut decoded = Decoded::default();
    while let Some(batch) = decoder.next_batch().unwrap() {
        decoded.rows.extend(rows_of(&batch));
    }
    let wanted: Vec<_> = rows[first..]
        .iter()
        .filter(|row| row.timestamp < until)
        .cloned()
        .collect();
    assert_eq!(decoded.rows, expected(&wanted));
    assert!(decoder.passed());
}

#[test]
fn the_last_key_is_compared_with_the_one_in_front_also_where_a_lane_has_one_row() {
    // Two rows of the same key, one in each lane, behind so much text that no more rows are in a lane.
    let mut rows = [Row::at(1, 1), Row::at(1, 1), Row::at(2, 1)];
    rows[0].text[0] = vec![b'x'; 1200];
    rows[1].text[0] = vec![b'x'; 900];
    let mut decoder = RowBinaryDecoder::new();
    decoder.push(wire(&rows).into());
    let mut unique = Vec::new();
    while let Some(batch) = decoder.next_batch().unwrap() {
        let rows = batch.rows();
        unique.push((rows, decoder.last_key_is_unique()));
    }
    assert_eq!(unique, [(1, true), (1, false), (1, true)]);
}
