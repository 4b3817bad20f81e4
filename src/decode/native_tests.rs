#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test that cannot go on fails

use proptest::prelude::*;

use super::super::rowbinary::tests::support::{
    Corpus, Row,
    native::{As, MIXED, TABLE, block, native},
    wire, write_length,
};
use super::super::rowbinary::tests::{EXCEPTIONS, long_exceptions, rows_of};
use super::super::{Decoder, Wire};
use super::*;

#[derive(Debug, Default)]
struct Decoded {
    rows: Vec<Row>,
    settled: u64,
    error: Option<Error>,
}

fn take(decoder: &mut Decoder, decoded: &mut Decoded) {
    loop {
        match decoder.next_batch() {
            Ok(Some(batch)) => {
                assert!(batch.rows() > 0 && batch.rows() <= MAX_BATCH_ROWS);
                decoded.settled += batch.settled_rows;
                decoded.rows.extend(rows_of(&batch));
            }
            Ok(None) => return,
            Err(error) => {
                assert!(decoder.next_batch().is_err(), "an error stays one");
                decoded.error = Some(error);
                return;
            }
        }
    }
}

fn decode_with<'a>(
    mut decoder: Decoder,
    chunks: impl IntoIterator<Item = &'a [u8]>,
) -> (Decoder, Decoded) {
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

fn decode<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> (Decoder, Decoded) {
    decode_with(Decoder::new(Wire::Native), chunks)
}

/// The bytes that the decoder has room for.
fn room(decoder: &Decoder) -> usize {
    let Decoder::Native(decoder) = decoder else {
        panic!("of the native wire only");
    };
    let texts = decoder.texts.iter();
    let texts = texts.map(|texts| 8 * texts.spans.capacity() + 4 * texts.codes.capacity());
    let keys = decoder.timestamps.capacity() + decoder.event_ids.capacity();
    let rest = 2 * decoder.offsets.capacity() + decoder.event_types.capacity();
    decoder.bytes.capacity() + texts.sum::<usize>() + 8 * keys + rest
}

/// Rows whose texts are short, so that their block can be cut at each of its bytes.
fn short_rows() -> Vec<Row> {
    let mut rows = Corpus::Hostile.rows(12);
    rows.retain(|row| row.text.iter().all(|text| text.len() < 100));
    rows.truncate(4);
    rows[1].text[0] = vec![b'x'; 130];
    rows[2].text = Default::default();
    rows[3].fresh = true;
    rows
}

/// A block that begins as one of so many rows does.
fn beginning(rows: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_length(COLUMNS as u64, &mut bytes);
    write_length(rows, &mut bytes);
    bytes
}

/// `bytes` with `to` in the place of the first `from`.
fn changed(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|found| found == from);
    let at = at.expect("it is there");
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}

fn message(decoded: &Decoded) -> String {
    decoded.error.as_ref().expect("an error").to_string()
}

#[test]
fn both_wires_give_the_same_rows() {
    for corpus in Corpus::ALL {
        let rows = corpus.rows(2000);
        let packed = wire(&rows);
        let (_, expected) = decode_with(Decoder::new(Wire::RowBinary), packed.chunks(1 << 16));
        for ways in [TABLE, MIXED, [As::Strings; 15], [As::Codes(3); 15]] {
            let mut blocks = Vec::new();
            for part in [&rows[..1], &[], &rows[1..700], &[], &[], &rows[700..], &[]] {
                blocks.extend_from_slice(&block(part, &ways));
            }
            for size in [1000, 1 << 16, 1 << 30] {
                let (decoder, decoded) = decode(blocks.chunks(size));
                assert!(decoded.error.is_none(), "{:?}", decoded.error);
                assert!(decoded.rows == expected.rows, "{}", corpus.name());
                assert_eq!(decoded.settled, expected.settled);
                decoder.finish().unwrap();
            }
        }
    }
}

#[test]
fn a_block_cut_at_any_byte_decodes_the_same() {
    let rows = short_rows();
    let first = block(&rows, &MIXED);
    let bytes = [&first[..], &block(&[], &MIXED)].concat();
    let (_, whole) = decode([&bytes[..]]);
    assert!(whole.rows.len() == 4 && whole.error.is_none());
    for cut in 0..=bytes.len() {
        let (decoder, decoded) = decode([&bytes[..cut], &bytes[cut..]]);
        assert_eq!(decoded.rows, whole.rows, "cut at {cut}");
        decoder.finish().unwrap();
        // And where nothing follows, only a cut between blocks is an end.
        let (decoder, decoded) = decode([&bytes[..cut]]);
        assert!(decoded.error.is_none());
        let between = [0, first.len(), bytes.len()].contains(&cut);
        assert_eq!(decoder.finish().is_ok(), between, "cut at {cut}");
        if !between {
            let row = decoded.rows.len() as u64 + 1;
            let error = decoder.finish().unwrap_err();
            assert_eq!(error.position().unwrap().row, Some(row));
        }
    }
    for size in 1..=70 {
        let (decoder, decoded) = decode(bytes.chunks(size));
        assert_eq!(decoded.rows, whole.rows, "chunks of {size}");
        decoder.finish().unwrap();
    }
}

#[test]
fn blocks_of_one_row_and_a_block_of_many_batches_decode_the_same() {
    let rows = Corpus::PageViews.rows(3 * MAX_BATCH_ROWS - 5);
    let (_, expected) = decode_with(Decoder::new(Wire::RowBinary), [&wire(&rows)[..]]);
    for block_rows in [1, 1000, rows.len()] {
        let bytes = native(&rows, block_rows, &TABLE);
        let (decoder, decoded) = decode([&bytes[..]]);
        assert!(decoded.error.is_none(), "{:?}", decoded.error);
        assert!(decoded.rows == expected.rows, "{block_rows}");
        decoder.finish().unwrap();
    }
}

#[test]
fn a_stream_is_not_at_its_end_while_rows_wait() {
    let mut decoder = Decoder::new(Wire::Native);
    decoder.push(block(&Corpus::PageViews.rows(MAX_BATCH_ROWS + 1), &TABLE).into());
    assert_eq!(
        decoder.next_batch().unwrap().unwrap().rows(),
        MAX_BATCH_ROWS
    );
    assert!(decoder.finish().is_err());
    assert_eq!(decoder.next_batch().unwrap().unwrap().rows(), 1);
    decoder.finish().unwrap();
}

#[test]
fn rows_behind_the_end_of_a_range_are_not_delivered() {
    let rows: Vec<Row> = (0..10).map(|at| Row::at(at / 2, at as u64)).collect();
    let bytes = native(&rows, 6, &MIXED);
    for until in 0..7 {
        let mut decoder = Decoder::new(Wire::Native);
        decoder.stop_at(until);
        let (mut decoder, decoded) = decode_with(decoder, bytes.chunks(100));
        assert_eq!(decoded.rows.len(), 10.min(2 * until as usize));
        assert_eq!(decoder.passed(), until < 5);
        // What comes of the stream then is neither kept nor missed.
        decoder.finish().unwrap();
        if decoder.passed() {
            let before = room(&decoder);
            decoder.push(vec![0; 1 << 20].into());
            assert!(decoder.next_batch().unwrap().is_none());
            assert_eq!(room(&decoder), before);
            assert!(!decoder.overflows());
            decoder.finish().unwrap();
        }
        // Another stream goes on from there, on either wire, and none goes back.
        let behind = Row::at(until, 100);
        let before = Row::at(until - 2, 100);
        for (row, fits) in [(behind, true), (before, false)] {
            for wire_of in Wire::ALL {
                decoder.restart(wire_of, i64::MAX);
                let bytes = match wire_of {
                    Wire::RowBinary => wire(std::slice::from_ref(&row)),
                    Wire::Native => block(std::slice::from_ref(&row), &MIXED),
                };
                let mut decoded = Decoded::default();
                decoder.push(bytes.into());
                take(&mut decoder, &mut decoded);
                assert_eq!(decoded.error.is_none(), fits, "{until} {wire_of:?}");
            }
        }
    }
}

#[test]
fn an_end_of_the_range_holds_for_the_rows_of_a_block_that_wait() {
    let count = 3 * MAX_BATCH_ROWS as i64;
    let rows: Vec<Row> = (0..count).map(|at| Row::at(at, 0)).collect();
    let bytes = Bytes::from(block(&rows, &TABLE));
    let delivered = MAX_BATCH_ROWS as i64;
    for (until, wanted) in [
        (5, delivered),
        (delivered, delivered),
        (delivered + 5, delivered + 5),
        (count - 1, count - 1),
        (count, count),
    ] {
        let mut decoder = Decoder::new(Wire::Native);
        decoder.push(bytes.clone());
        let first = decoder.next_batch().unwrap().unwrap().rows();
        decoder.stop_at(until);
        let mut decoded = Decoded::default();
        take(&mut decoder, &mut decoded);
        assert_eq!((first + decoded.rows.len()) as i64, wanted, "{until}");
        assert_eq!(decoder.passed(), wanted < count);
    }
}

#[test]
fn a_stream_goes_on_where_another_wire_left_off() {
    let rows = Corpus::PageViews.rows(60);
    let mut decoder = Decoder::new(Wire::RowBinary);
    let mut decoded = Decoded::default();
    for (at, part) in rows.chunks(10).enumerate() {
        let (wire_of, bytes) = match at % 3 {
            0 => (Wire::RowBinary, wire(part)),
            _ => (Wire::Native, native(part, 3, &TABLE)),
        };
        decoder.restart(wire_of, i64::MAX);
        decoder.push(bytes.into());
        take(&mut decoder, &mut decoded);
        decoder.finish().unwrap();
        // A part of something is left over, which is not the next stream's.
        decoder.push(vec![0x81, 0x80].into());
        take(&mut decoder, &mut Decoded::default());
    }
    let (_, expected) = decode_with(Decoder::new(Wire::RowBinary), [&wire(&rows)[..]]);
    assert!(decoded.error.is_none(), "{:?}", decoded.error);
    assert_eq!(decoded.rows, expected.rows);
    decoder.restart(Wire::Native, i64::MAX);
    decoder.push(block(&rows[..1], &TABLE).into());
    take(&mut decoder, &mut decoded);
    assert!(message(&decoded).contains("out of order: row 61"));
}

#[test]
fn what_clickhouse_appends_behind_a_block_is_never_a_row() {
    let rows = short_rows();
    for (text, code) in EXCEPTIONS
        .into_iter()
        .chain([("\0", None), ("\u{12}", None)])
    {
        let bytes = [&block(&rows, &MIXED)[..], text.as_bytes()].concat();
        for size in [1, 7, 64, bytes.len()] {
            let (_, decoded) = decode(bytes.chunks(size));
            assert_eq!(decoded.rows.len(), rows.len());
            let error = decoded.error.unwrap();
            assert_eq!(
                error.message(),
                "the stream from ClickHouse broke off at row 5"
            );
            assert_eq!(error.position().unwrap().row, Some(5));
            if size == bytes.len() {
                assert_eq!(error.clickhouse_code(), code, "{error}");
                let detail = error.detail().unwrap();
                assert!(
                    !detail.contains("boom") && !detail.contains('\0'),
                    "{detail}"
                );
            }
        }
    }
}

#[test]
fn no_exception_completes_a_block_wherever_both_are_cut() {
    let rows = short_rows();
    // A column with codes as the last one takes any small bytes.
    for ways in [MIXED, [As::Strings; 15], [As::Codes(0); 15]] {
        let (first, second) = (block(&rows[..2], &ways), block(&rows[2..], &ways));
        let (_, whole) = decode([&first[..]]);
        for missing in 1..second.len() {
            let cut = [&first[..], &second[..second.len() - missing]].concat();
            for text in long_exceptions() {
                for end in [1, 2, 3, 7, missing, missing + 1, missing + 9, text.len()] {
                    let end = end.min(text.len());
                    let stream = [&cut[..], &text[..end]].concat();
                    let (decoder, decoded) = decode([&stream[..]]);
                    assert_eq!(decoded.rows, whole.rows, "{missing} {end}");
                    let error = decoded.error.or(decoder.finish().err()).unwrap();
                    // One or two letters are no text.
                    let kind = error.kind();
                    assert!(end < 3 || kind == ErrorKind::BrokenOff, "{missing} {end}");
                }
                let stream = [&cut[..], &text[..]].concat();
                let (decoder, decoded) = decode(stream.chunks(1));
                assert_eq!(decoded.rows, whole.rows, "{missing}");
                assert!(decoded.error.is_some() || decoder.finish().is_err());
            }
        }
    }
    // Where only the end is missing, it is told apart from damage.
    for (behind, kind) in [
        ("__exception__", ErrorKind::BrokenOff),
        ("\0\0\0\0", ErrorKind::Damaged),
    ] {
        let mut stream = [block(&rows[..2], &MIXED), block(&rows[2..], &MIXED)].concat();
        stream.truncate(stream.len() - 2);
        stream.extend_from_slice(behind.as_bytes());
        let (_, decoded) = decode(stream.chunks(1));
        assert_eq!(decoded.error.unwrap().kind(), kind);
    }
}

#[test]
fn what_is_no_block_is_refused() {
    let rows = [Row::at(1, 1), Row::at(2, 2)];
    let good = block(&rows, &MIXED);
    let codes = b"LowCardinality(String)";
    let with = |from: &[u8], to: &[u8]| {
        let bytes = [&good[..], &changed(&good, from, to)].concat();
        let (_, decoded) = decode([&bytes[..]]);
        assert_eq!(decoded.rows.len(), 2);
        message(&decoded)
    };
    assert!(with(b"UInt8\x01", b"UInt8\x00").contains("broke off at row 3"));
    assert!(with(b"UInt8\x01", b"UInt8\x05").contains("broke off at row 3"));
    for columns in [0, 19, 21] {
        assert!(with(&[20], &[columns]).contains("broke off at row 3"));
    }
    for (from, to) in [
        (&b"\x05Int64"[..], &b"\x05Int65"[..]),
        (b"\x06String", b"\x06Strinh"),
        (b"\x06String", b"\x08Nullable"),
        (b"\x06String", b"\x00"),
        // The version, the kinds of texts, the width of codes, and the number of texts and of codes.
        (&[codes, &[1][..]].concat(), &[codes, &[2][..]].concat()),
        (&[1, 6, 0, 0][..], &[1, 7, 0, 0][..]),
        (&[1, 6, 0, 0], &[1, 4, 0, 0]),
        (&[1, 6, 0, 0], &[1, 0x16, 0, 0]),
        (&[1, 6, 0, 0], &[1, 6, 0, 1]),
        (&[1, 6, 0, 0], &[4, 6, 0, 0]),
        (
            &[1, 6, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            &[1, 6, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0],
        ),
        (
            &[1, 6, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            &[1, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
        (
            &[1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0],
            &[1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
        ),
    ] {
        let found = with(from, to);
        assert!(found.contains("is damaged at row 3"), "{to:?}: {found}");
    }
    let swapped = block(&[Row::at(3, 2), Row::at(3, 1)], &MIXED);
    let (_, decoded) = decode([&good[..], &swapped[..]]);
    assert_eq!(decoded.rows.len(), 2);
    assert!(message(&decoded).contains("row 4 comes before"));
    let again = good.repeat(2);
    assert!(message(&decode([&again[..]]).1).contains("row 3 comes before"));
    for rows in [MAX_BLOCK_ROWS as u64 + 1, u64::from(u32::MAX), u64::MAX] {
        assert!(message(&decode([&beginning(rows)[..]]).1).contains("is damaged at row 1"));
    }
}

#[test]
fn a_code_without_a_text_is_refused_whatever_its_width() {
    for power in 0..4u64 {
        let mut row = Row::at(1, 1);
        row.text[14] = b"one".to_vec();
        let mut bytes = block(&[row], &[As::Codes(power); 15]);
        let width = 1 << power;
        // In front of the column that is the end.
        let at = bytes.len() - b"\x03end\x05UInt8\xff".len() - width;
        assert_eq!(decode([&bytes[..]]).1.rows.len(), 1);
        for byte in 0..width {
            bytes[at..at + width].fill(0);
            bytes[at + byte] = 2;
            let (_, decoded) = decode([&bytes[..]]);
            assert!(decoded.rows.is_empty());
            assert!(message(&decoded).contains("is damaged at row 1"));
        }
    }
}

/// What was read of the column in front of the damage is not read a second time, as another column.
#[test]
fn a_damaged_length_is_still_one_when_it_is_asked_for_again() {
    let texts = ["one", "two", "LowCardinality(String)", "four"];
    let rows = texts.map(|text| {
        let mut row = Row::at(1, 1);
        row.text[0] = text.into();
        row
    });
    let bytes = block(&rows, &[As::Strings; 15]);
    let damaged = [0xff; 6];
    let mut bytes = changed(&bytes, b"\x04four", &damaged);
    let end = bytes.windows(6).position(|found| found == damaged);
    bytes.truncate(end.unwrap() + damaged.len());
    // `decode` asks again.
    let (_, decoded) = decode([&bytes[..]]);
    assert!(message(&decoded).contains("is damaged at row 1"));
}

#[test]
fn what_a_block_claims_takes_no_room() {
    let all_rows = MAX_BLOCK_ROWS as u64;
    let text = |bytes: &mut Vec<u8>, text: &[u8]| {
        write_length(text.len() as u64, bytes);
        bytes.extend_from_slice(text);
    };
    let one = block(&[Row::at(1, 1)], &[As::Codes(0); 15]);
    let texts_at = one.windows(22).position(|found| found == LOW_CARDINALITY);
    let texts_at = texts_at.unwrap() + LOW_CARDINALITY.len();
    let mut claims = vec![beginning(all_rows)];
    for length in [30 << 20, u64::from(u32::MAX)] {
        // A name, a type, a text.
        let mut name = beginning(1);
        write_length(length, &mut name);
        let mut type_name = beginning(1);
        text(&mut type_name, b"marker");
        write_length(length, &mut type_name);
        let strings = block(&[Row::at(1, 1)], &[As::Strings; 15]);
        let at = strings.windows(6).position(|found| found == STRING);
        let mut value = strings[..at.unwrap() + 6].to_vec();
        write_length(length, &mut value);
        claims.extend([name, type_name, value]);
    }
    let mut distinct = one[..texts_at + 16].to_vec();
    distinct.extend_from_slice(&all_rows.to_le_bytes());
    claims.push(distinct);
    for mut bytes in claims {
        bytes.resize(bytes.len() + 20_000, 1);
        let (decoder, decoded) = decode(bytes.chunks(1000));
        assert!(decoded.rows.is_empty());
        if decoded.error.is_none() {
            assert!(decoder.finish().is_err());
        }
        assert!(room(&decoder) < 20 * bytes.len(), "{}", room(&decoder));
    }
}

#[test]
fn a_block_that_is_too_large_is_given_up_and_takes_no_more_room() {
    let mut row = Row::at(2, 2);
    row.text[0] = vec![b'x'; MAX_BLOCK_BYTES + (2 << 20)];
    let bytes = [
        block(&[Row::at(1, 1)], &MIXED),
        block(&[row.clone()], &MIXED),
    ]
    .concat();
    let mut decoder = Decoder::new(Wire::Native);
    let mut decoded = Decoded::default();
    for chunk in bytes.chunks(1 << 20) {
        decoder.push(Bytes::copy_from_slice(chunk));
        take(&mut decoder, &mut decoded);
        if decoder.overflows() {
            break;
        }
    }
    assert!(decoder.overflows() && decoded.error.is_none());
    assert!(room(&decoder) <= 2 * MAX_BLOCK_BYTES + (1 << 20));
    // It is read on row by row, and where blocks come again the room is given back.
    decoder.restart(Wire::RowBinary, i64::MAX);
    row.text[0].truncate(MAX_BLOCK_BYTES / 2);
    decoder.push(wire(&[row]).into());
    take(&mut decoder, &mut decoded);
    assert_eq!(decoded.rows.len(), 2);
    decoder.restart(Wire::Native, i64::MAX);
    decoder.push(block(&[Row::at(3, 3)], &MIXED).into());
    take(&mut decoder, &mut decoded);
    assert_eq!(decoded.rows.len(), 3);
    assert!(!decoder.overflows());
    assert!(room(&decoder) < 1 << 20);
}

#[test]
fn room_that_a_large_block_took_is_given_back() {
    let mut row = Row::at(1, 1);
    row.text[2] = vec![b'x'; MAX_BLOCK_BYTES - 2000];
    let large = block(&[row], &TABLE);
    assert!(large.len() < MAX_BLOCK_BYTES);
    let small = block(&[Row::at(2, 2)], &TABLE);
    let (decoder, decoded) = decode([&large[..], &small[..]].concat().chunks(4 << 10));
    assert!(decoded.error.is_none() && decoded.rows.len() == 2);
    assert!(!decoder.overflows());
    assert!(room(&decoder) <= KEPT_BYTES + (64 << 10));
}

#[test]
fn a_text_that_many_rows_share_is_not_handed_on_in_one_piece() {
    let rows = |len: usize| -> Vec<Row> {
        let row = |at: i64| {
            let mut row = Row::at(at, 0);
            row.text[1] = vec![b'x'; len];
            row
        };
        (0..8192).map(row).collect()
    };
    let most = MAX_BLOCK_BYTES / 8192;
    for (len, fits) in [(most, true), (most + 1, false)] {
        let rows = rows(len);
        let bytes = block(&rows, &TABLE);
        let mut decoder = Decoder::new(Wire::Native);
        decoder.push(block(&[Row::at(-1, 0)], &TABLE).into());
        let mut decoded = Decoded::default();
        take(&mut decoder, &mut decoded);
        decoder.push(bytes.into());
        take(&mut decoder, &mut decoded);
        assert!(decoded.error.is_none());
        assert_eq!(decoder.overflows(), !fits);
        assert_eq!(decoder.finish().is_ok(), fits);
        if !fits {
            assert_eq!(decoded.rows.len(), 1);
            decoder.restart(Wire::RowBinary, i64::MAX);
            decoder.push(wire(&rows[..10]).into());
            take(&mut decoder, &mut decoded);
            assert_eq!(decoded.rows.len(), 11);
        }
    }
    // One long text among short ones is no reason.
    let mut rows = rows(1);
    rows[7].text[1] = vec![b'x'; 1 << 20];
    let (decoder, decoded) = decode([&block(&rows, &TABLE)[..]]);
    assert_eq!(decoded.rows.len(), rows.len());
    assert!(!decoder.overflows());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn chunks_of_any_size_give_the_same_rows(
        sizes in proptest::collection::vec(prop_oneof![1usize..40, 1usize..5000], 1..50),
        count in 1usize..120,
        block_rows in 1usize..50,
    ) {
        let rows = Corpus::Hostile.rows(count);
        let bytes = native(&rows, block_rows, &MIXED);
        let mut chunks = Vec::new();
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            let (chunk, behind) = rest.split_at(rest.len().min(*size));
            chunks.push(chunk);
            rest = behind;
            if rest.is_empty() { break; }
        }
        let (decoder, decoded) = decode(chunks);
        let (_, expected) = decode_with(Decoder::new(Wire::RowBinary), [&wire(&rows)[..]]);
        prop_assert!(decoded.error.is_none());
        prop_assert_eq!(decoded.rows, expected.rows);
        prop_assert_eq!(decoded.settled, expected.settled);
        prop_assert!(decoder.finish().is_ok());
    }

    #[test]
    fn damaged_blocks_never_panic(at: prop::sample::Index, byte: u8, size in 1usize..500, count in 1usize..30) {
        let mut bytes = native(&Corpus::Hostile.rows(count), 7, &MIXED);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let (decoder, decoded) = decode(bytes.chunks(size));
        let (whole_decoder, whole) = decode([&bytes[..]]);
        // The same rows, and an error at the same row, however they were cut.
        prop_assert_eq!(decoded.rows, whole.rows);
        let row = |error: Error| error.position().unwrap().row;
        let end = |error: Option<Error>, decoder: &Decoder| error.or(decoder.finish().err()).map(row);
        prop_assert_eq!(end(decoded.error, &decoder), end(whole.error, &whole_decoder));
        prop_assert!(room(&decoder) < 20 * bytes.len() + 1000);
    }

    #[test]
    fn bytes_of_any_kind_never_panic(
        bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(COLUMNS as u8), 0u8..5], 0..400),
        whole: bool,
    ) {
        // As a stream, and as the columns of a block of two rows.
        let bytes = if whole { bytes } else { [&beginning(2)[..], &bytes].concat() };
        let (decoder, _) = decode(bytes.chunks(7));
        let _ = decoder.finish();
    }
}
