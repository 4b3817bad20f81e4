//! Columns side by side whose texts are looked up together.

use std::ops::Range;

use super::chunks::ABSENT;
use super::compressor::Compressor;
use super::rows::TILE_ROWS;
use super::share::Texts;
use crate::encode::combinations::{Combinations, MOST_NEIGHBOURS, Place};
use crate::encode::rows::RowSpans;

/// The codes of the combinations that some columns had last.
#[derive(Debug)]
pub(super) struct Neighbours {
    combinations: Combinations<[u32; MOST_NEIGHBOURS]>,
    /// The codes of some rows, by column.
    codes: Box<[[u32; TILE_ROWS]; MOST_NEIGHBOURS]>,
}

impl Neighbours {
    /// Of columns side by side.
    pub(super) fn new(columns: Range<usize>) -> Self {
        Self {
            combinations: Combinations::new(columns),
            codes: Box::new([[0; TILE_ROWS]; MOST_NEIGHBOURS]),
        }
    }

    /// Forgets all codes.
    pub(super) fn clear(&mut self) {
        self.combinations.clear();
    }

    /// Adds rows whose texts lie in `bytes`, [`TILE_ROWS`] at most, to those of the columns that a file has.
    pub(super) fn extend(
        &mut self,
        bytes: &[u8],
        mut rows: &[RowSpans],
        texts: &mut [Texts],
        compressor: &Compressor,
    ) {
        while !rows.is_empty() && texts.iter().all(|text| text.chunk.in_dictionary()) {
            // Their pages have the same rows for as long as all of them have dictionaries.
            let room = texts.iter().map(|text| text.chunk.page_room()).min();
            let room = room.unwrap_or(0).min(rows.len());
            let taken = self.look_up(bytes, &rows[..room], texts);
            for (text, codes) in texts.iter_mut().zip(&*self.codes) {
                text.chunk.extend_looked_up(&codes[..taken], compressor);
            }
            rows = &rows[taken..];
        }
        for Texts { column, chunk, .. } in texts {
            chunk.extend(bytes, rows.len(), |row| rows[row][*column], compressor);
        }
    }

    /// Looks rows up until a dictionary is full. Gives how many.
    fn look_up(&mut self, bytes: &[u8], rows: &[RowSpans], texts: &mut [Texts]) -> usize {
        for (place, row) in rows.iter().enumerate() {
            let mut new = false;
            let mut look_up = || {
                new = true;
                let mut codes = [0; MOST_NEIGHBOURS];
                for (code, Texts { column, chunk, .. }) in codes.iter_mut().zip(&mut *texts) {
                    *code = chunk.look_up(bytes, row[*column]);
                }
                codes
            };
            let codes = if self.combinations.is_empty(row) {
                [ABSENT; MOST_NEIGHBOURS]
            } else {
                match self.combinations.place(bytes, row) {
                    Place::Known(codes) => *codes,
                    Place::New(codes) => {
                        *codes = look_up();
                        *codes
                    }
                    Place::Nowhere => look_up(),
                }
            };
            for (column, code) in self.codes.iter_mut().zip(codes) {
                column[place] = code;
            }
            if new && texts.iter().any(|text| text.chunk.dictionary_full()) {
                return place + 1;
            }
        }
        rows.len()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use crate::decode::support::native::{TABLE, native};
    use crate::decode::support::{Corpus, ROW_END, Row, wire, write_four_groups};
    use crate::decode::{FIXED_ROW_BYTES, Wire};
    use crate::encode::{FileInfo, whole};
    use crate::request::{Fields, Format};

    const CITY: usize = 7;
    const CAMPAIGN: usize = 14;

    fn file(kind: Wire, wire: &[u8], chunk: usize, fields: &Fields) -> Vec<u8> {
        let info = FileInfo {
            fields: fields.clone(),
            ..FileInfo::default()
        };
        whole::file(&info, Format::Parquet, kind, wire, chunk)
    }

    /// Columns that come one by one know nothing of neighbours.
    fn is_the_file_of_columns(rows: &[Row], fields: &Fields) {
        let (by_row, by_column) = (wire(rows), native(rows, 1_000, &TABLE));
        let expected = file(Wire::Native, &by_column, 128 << 10, fields);
        for chunk in [5_000, 128 << 10] {
            let found = file(Wire::RowBinary, &by_row, chunk, fields);
            assert!(found == expected, "chunks of {chunk}");
        }
    }

    #[test]
    fn pages_end_where_they_do_column_by_column() {
        let mut rows = Corpus::PageViews.rows(45_000);
        for (number, row) in rows.iter_mut().enumerate() {
            // The first row of the second page has a text for whose code those of the first page are a bit too narrow.
            row.text[CITY] = format!("city {}", number * 16_384 / 20_000).into_bytes();
        }
        is_the_file_of_columns(&rows, &Fields::default());
    }

    #[test]
    fn lengths_may_have_groups_that_add_nothing() {
        let rows = Corpus::Hostile.rows(3_000);
        let mut padded = Vec::new();
        for row in &rows {
            let mut own = Vec::new();
            row.write(&mut own);
            padded.extend_from_slice(&own[..FIXED_ROW_BYTES]);
            for text in &row.text {
                write_four_groups(text.len() as u32, &mut padded);
                padded.extend_from_slice(text);
            }
            padded.push(ROW_END);
        }
        let fields = Fields::default();
        let found = file(Wire::RowBinary, &padded, 5_000, &fields);
        assert!(found == file(Wire::RowBinary, &wire(&rows), 5_000, &fields));
    }

    #[test]
    fn a_dictionary_that_is_full_ends_where_it_does_alone() {
        let mut rows = Corpus::PageViews.rows(30_000);
        for (number, row) in rows.iter_mut().enumerate() {
            // Full with some row in a page, and of different columns with different rows.
            row.text[CITY] = format!("{number:050}").into_bytes();
            row.text[CAMPAIGN] = format!("{:090}", number * number % 29_989).into_bytes();
        }
        is_the_file_of_columns(&rows, &Fields::default());
        let fields = Fields::parse("city,country,utm_campaign,os").unwrap();
        is_the_file_of_columns(&rows, &fields);
    }
}
