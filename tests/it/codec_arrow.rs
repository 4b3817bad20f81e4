//! Arrow IPC streams: read back with Arrow's own reader, and byte for byte the same however the rows arrived.

use arrow::ipc::reader::StreamReader;
use proptest::prelude::*;
use rowspout::request::Format;

use super::codec::expected::assert_first_rows;
use super::codec::support::native::{BLOCK_ROWS, MIXED, TABLE, native};
use super::codec::support::{Corpus, Row, wire};
use super::codec::{cut, encode, encode_native, rows, sizes};

#[track_caller]
fn assert_holds(stream: &[u8], mut rows: &[Row]) {
    let reader = StreamReader::try_new(stream, None).unwrap();
    for batch in reader {
        rows = assert_first_rows(&batch.unwrap(), rows);
    }
    assert!(rows.is_empty());
}

#[test]
fn every_corpus_reads_back_and_the_bytes_do_not_depend_on_how_the_rows_were_cut() {
    for corpus in Corpus::ALL {
        let rows = corpus.rows(10_000);
        let wire = wire(&rows);
        let whole = encode(Format::Arrow, false, [&wire[..]]);
        assert_holds(&whole, &rows);
        for size in [313, 70_000, 1 << 20] {
            let cut = encode(Format::Arrow, false, wire.chunks(size));
            assert!(cut == whole, "{size}");
        }
        let blocks = native(&rows, BLOCK_ROWS, &TABLE);
        assert!(encode_native(Format::Arrow, false, blocks.chunks(70_000)) == whole);
    }
}

#[test]
fn a_stream_that_was_cut_has_no_end_mark() {
    let rows = Corpus::PageViews.rows(9_000);
    let stream = encode(Format::Arrow, false, [&wire(&rows)[..]]);
    assert_eq!(
        stream[stream.len() - 8..],
        [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn rows_of_any_kind_read_back(rows in rows(), sizes in sizes()) {
        let wire = wire(&rows);
        let stream = encode(Format::Arrow, false, cut(&wire, &sizes));
        prop_assert!(stream == encode(Format::Arrow, false, [&wire[..]]));
        let blocks = native(&rows, 9, &MIXED);
        prop_assert!(stream == encode_native(Format::Arrow, false, cut(&blocks, &sizes)));
        assert_holds(&stream, &rows);
    }
}
