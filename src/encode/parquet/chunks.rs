//! The columns of a row group in the making.
//!
//! Values go from the wire straight into the page that will hold them. A page ends, a dictionary is given up and a
//! row group is counted by the rows themselves, never by how they arrived.

use std::ops::Range;

use parquet::basic::Encoding;
use parquet::data_type::ByteArray;
use parquet::errors::Result;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescPtr;

use super::compressor::Compressor;
use super::dictionary::Dictionary;
use super::hybrid;
use super::pages::{Bounds, DataPage, DictionaryPage, EndedColumn, Pages};
use crate::decode::Span;
use crate::encode::rows::as_utf8;

/// Most rows of a page.
const PAGE_ROWS: usize = 20_000;

/// A page ends with the value that reaches this many bytes.
const PAGE_BYTES: usize = 4 << 20;

/// Room in front of a page's texts for its definition levels: their length, that of their run, and a bit for each row.
const LEVELS_ROOM: usize = 4 + 3 + PAGE_ROWS.div_ceil(8);

/// A column whose distinct texts take more bytes than this is written without a dictionary from there on.
const DICTIONARY_BYTES: usize = 1 << 20;

/// The code of a text that was not looked up yet: no dictionary is so large.
const UNKNOWN: u32 = u32::MAX;

/// And of the empty text, which has none.
const ABSENT: u32 = UNKNOWN - 1;

/// Longest text that statistics hold, in bytes. A column with a longer one has no statistics.
const STATISTICS_BYTES: usize = 64;

/// Times, in microseconds since 1970-01-01T00:00:00Z. Holds one page and the compressed ones.
#[derive(Debug)]
pub(super) struct TimeChunk {
    column: ColumnDescPtr,
    pages: Pages,
    values: Vec<u8>,
    /// Of the page, and of the row group.
    bounds: Option<(i64, i64)>,
    all_bounds: Option<(i64, i64)>,
}

impl TimeChunk {
    pub(super) fn new(column: &ColumnDescPtr) -> Self {
        Self {
            column: column.clone(),
            pages: Pages::new(column.clone()),
            values: Vec::new(),
            bounds: None,
            all_bounds: None,
        }
    }

    pub(super) fn bytes(&mut self) -> Result<usize> {
        Ok(self.pages.bytes()? + self.values.len())
    }

    /// The pages of the row group so far.
    pub(super) fn pages(&mut self) -> &mut Pages {
        &mut self.pages
    }

    #[inline]
    pub(super) fn push(&mut self, value: i64, compressor: &Compressor) {
        self.values.extend_from_slice(&value.to_le_bytes());
        let (min, max) = self.bounds.unwrap_or((value, value));
        self.bounds = Some((min.min(value), max.max(value)));
        if self.values.len() >= PAGE_ROWS * size_of::<i64>() {
            self.end_page(compressor);
        }
    }

    fn end_page(&mut self, compressor: &Compressor) {
        let Some((min, max)) = self.bounds.take() else {
            return;
        };
        let page = DataPage {
            rows: self.values.len() / size_of::<i64>(),
            bytes: std::mem::replace(&mut self.values, compressor.buffer()),
            from: 0,
            nulls: 0,
            encoding: Encoding::PLAIN,
            bounds: Some(Bounds::Between(
                min.to_le_bytes().into(),
                max.to_le_bytes().into(),
            )),
        };
        self.pages.push(page, compressor);
        let (all_min, all_max) = self.all_bounds.unwrap_or((min, max));
        self.all_bounds = Some((all_min.min(min), all_max.max(max)));
    }

    /// Ends the row group's column and starts the next one's.
    pub(super) fn end(&mut self, compressor: &Compressor) -> EndedColumn {
        self.end_page(compressor);
        let pages = std::mem::replace(&mut self.pages, Pages::new(self.column.clone()));
        let statistics = self
            .all_bounds
            .take()
            .map(|(min, max)| Statistics::int64(Some(min), Some(max), None, Some(0), false));
        EndedColumn {
            pages,
            dictionary: None,
            statistics,
        }
    }
}

/// Texts; the empty one is null. Holds one page, the dictionary and the compressed pages.
#[derive(Debug)]
pub(super) struct TextChunk {
    column: ColumnDescPtr,
    pages: Pages,
    dictionary: Dictionary,
    /// Whether the column starts with a dictionary, and whether it still has one.
    with_dictionary: bool,
    in_dictionary: bool,
    /// A bit for each row of the page: whether it has a text.
    present: Vec<u64>,
    rows: usize,
    nulls: usize,
    /// The texts of the page: codes, or lengths and bytes behind [`LEVELS_ROOM`].
    codes: Vec<u32>,
    plain: Vec<u8>,
    levels: Vec<u8>,
    /// Whether the column has statistics so far; those of the page where it has no dictionary; those of the row group.
    with_statistics: bool,
    in_statistics: bool,
    bounds: Option<(Vec<u8>, Vec<u8>)>,
    all_bounds: Option<(Vec<u8>, Vec<u8>)>,
    all_nulls: usize,
    /// Which codes have been compared for the bounds of a page.
    compared: Vec<bool>,
    /// The codes of distinct texts that were looked up already.
    known: Vec<u32>,
}

impl TextChunk {
    pub(super) fn new(column: &ColumnDescPtr, dictionary: bool, statistics: bool) -> Self {
        Self {
            column: column.clone(),
            pages: Pages::new(column.clone()),
            dictionary: Dictionary::new(),
            with_dictionary: dictionary,
            in_dictionary: dictionary,
            present: Vec::new(),
            rows: 0,
            nulls: 0,
            codes: Vec::new(),
            plain: Vec::new(),
            levels: Vec::new(),
            with_statistics: statistics,
            in_statistics: statistics,
            bounds: None,
            all_bounds: None,
            all_nulls: 0,
            compared: Vec::new(),
            known: Vec::new(),
        }
    }

    /// Bytes that the column takes so far, what is not yet compressed counted as it is.
    ///
    /// # Errors
    ///
    /// A page cannot be compressed.
    pub(super) fn bytes(&mut self) -> Result<usize> {
        let pages = self.pages.bytes()?;
        Ok(pages + self.dictionary.page().len() + self.codes.len() + self.plain_bytes())
    }

    /// The pages of the row group so far.
    pub(super) fn pages(&mut self) -> &mut Pages {
        &mut self.pages
    }

    /// Adds texts that lie in `bytes`, so many, each at its span.
    pub(super) fn extend(
        &mut self,
        bytes: &[u8],
        count: usize,
        span: impl Fn(usize) -> Span,
        compressor: &Compressor,
    ) {
        let mut done = 0;
        while done < count {
            let next = done..count.min(done + self.most_next());
            let (present, rows) = if self.in_dictionary {
                let look_up =
                    |dictionary: &mut Dictionary, text| dictionary.code(bytes, span(text));
                self.take_codes(next, &span, look_up)
            } else {
                self.take_plain(next.map(|text| span(text).of(bytes)))
            };
            self.took(present, rows, compressor);
            done += rows;
        }
    }

    /// Adds texts that come as codes into distinct ones; each of these is looked up once.
    pub(super) fn extend_codes(
        &mut self,
        bytes: &[u8],
        entries: &[Span],
        codes: &[u32],
        compressor: &Compressor,
    ) {
        let mut known = std::mem::take(&mut self.known);
        known.clear();
        known.extend(entries.iter().map(|entry| match entry.len {
            0 => ABSENT,
            _ => UNKNOWN,
        }));
        let mut rest = codes;
        while self.in_dictionary && !rest.is_empty() {
            let next = &rest[..self.most_next().min(rest.len())];
            let (present, rows) = match self.take_known(next, &known) {
                Some(present) => (present, next.len()),
                None => {
                    let look_up = |dictionary: &mut Dictionary, text: usize| {
                        let code = next[text] as usize;
                        let place = &mut known[code];
                        if *place == UNKNOWN {
                            *place = dictionary.code(bytes, entries[code]);
                        }
                        *place
                    };
                    let span = |text: usize| entries[next[text] as usize];
                    self.take_codes(0..next.len(), span, look_up)
                }
            };
            self.took(present, rows, compressor);
            rest = &rest[rows..];
        }
        self.known = known;
        let span = |text: usize| entries[rest[text] as usize];
        self.extend(bytes, rest.len(), span, compressor);
    }

    /// How many rows there is room for in the last word of those that say what is there, and in the page.
    fn most_next(&self) -> usize {
        (64 - self.rows % 64).min(PAGE_ROWS - self.rows)
    }

    /// Counts rows whose texts were taken, and ends the page or the dictionary with them if they are full.
    fn took(&mut self, present: u64, rows: usize, compressor: &Compressor) {
        let first = self.rows % 64;
        match self.present.last_mut() {
            Some(word) if first > 0 => *word |= present << first,
            _ => self.present.push(present),
        }
        self.rows += rows;
        self.nulls += rows - present.count_ones() as usize;
        let dictionary_full = self.in_dictionary && self.dictionary_full();
        if dictionary_full || self.plain_bytes() >= PAGE_BYTES || self.rows >= PAGE_ROWS {
            self.end_page(compressor);
        }
        self.in_dictionary &= !dictionary_full;
    }

    /// Bytes of the texts that are written without a dictionary.
    fn plain_bytes(&self) -> usize {
        self.plain.len().saturating_sub(LEVELS_ROOM)
    }

    fn dictionary_full(&self) -> bool {
        self.dictionary.page().len() >= DICTIONARY_BYTES || self.dictionary.is_full()
    }

    /// Takes 64 texts at most that come as codes, if all of them were looked up before. Gives a bit for each that is there.
    #[inline]
    fn take_known(&mut self, codes: &[u32], known: &[u32]) -> Option<u64> {
        let mut places = [0; 64];
        let (mut present, mut taken, mut unknown) = (0, 0, false);
        for (row, &code) in codes.iter().enumerate() {
            let place = known[code as usize];
            unknown |= place == UNKNOWN;
            // Written over by the next one where there is no text.
            places[taken % 64] = place;
            taken += usize::from(place != ABSENT);
            present |= u64::from(place != ABSENT) << row;
        }
        if unknown {
            return None;
        }
        self.codes.extend_from_slice(&places[..taken]);
        Some(present)
    }

    /// Looks 64 texts up at most, until the dictionary is full. Gives a bit for each that is there, and how many rows were taken.
    #[inline]
    fn take_codes(
        &mut self,
        texts: Range<usize>,
        span: impl Fn(usize) -> Span,
        mut look_up: impl FnMut(&mut Dictionary, usize) -> u32,
    ) -> (u64, usize) {
        // First which are there, without a branch: a processor guesses that wrongly.
        let (first, rows) = (texts.start, texts.len());
        let mut there = [0; 64];
        let (mut present, mut taken) = (0, 0);
        for row in 0..rows {
            let is_there = span(first + row).len > 0;
            // Written over by the next one where there is no text.
            there[taken % 64] = row;
            taken += usize::from(is_there);
            present |= u64::from(is_there) << row;
        }
        for &row in &there[..taken] {
            let known = self.dictionary.len();
            let code = look_up(&mut self.dictionary, first + row);
            self.codes.push(code);
            if self.dictionary.len() != known && self.dictionary_full() {
                return (present & u64::MAX >> (63 - row), row + 1);
            }
        }
        (present, rows)
    }

    /// Copies texts until the page is full. Gives a bit for each that is there, and how many rows were taken.
    #[inline]
    fn take_plain<'a>(&mut self, texts: impl Iterator<Item = &'a [u8]>) -> (u64, usize) {
        if self.plain.is_empty() {
            self.plain.resize(LEVELS_ROOM, 0);
        }
        let (mut present, mut rows) = (0, 0);
        for text in texts {
            rows += 1;
            if !text.is_empty() {
                present |= 1 << (rows - 1);
                let text = as_utf8(text);
                if self.in_statistics {
                    extend_bounds(&mut self.bounds, &text);
                }
                let len = (text.len() as u32).to_le_bytes();
                self.plain.extend_from_slice(&len);
                self.plain.extend_from_slice(&text);
                if self.plain_bytes() >= PAGE_BYTES {
                    break;
                }
            }
        }
        (present, rows)
    }

    fn end_page(&mut self, compressor: &Compressor) {
        if self.rows == 0 {
            return;
        }
        // Definition levels, behind their length: one for a text, zero for null.
        let mut levels = std::mem::take(&mut self.levels);
        levels.clear();
        levels.extend_from_slice(&[0; 4]);
        if self.nulls == 0 || self.nulls == self.rows {
            hybrid::write_run(u32::from(self.nulls == 0), self.rows, 1, &mut levels);
        } else {
            hybrid::pack_bits(&self.present, self.rows, &mut levels);
        }
        let length = (levels.len() - 4) as u32;
        levels[..4].copy_from_slice(&length.to_le_bytes());

        let (bytes, from, encoding) = if self.in_dictionary {
            let mut page = compressor.buffer();
            page.extend_from_slice(&levels);
            let width = hybrid::bit_width(self.dictionary.len());
            page.push(width as u8);
            hybrid::encode(&self.codes, width, &mut page);
            (page, 0, Encoding::RLE_DICTIONARY)
        } else {
            let mut page = std::mem::replace(&mut self.plain, compressor.buffer());
            let from = LEVELS_ROOM - levels.len();
            page[from..LEVELS_ROOM].copy_from_slice(&levels);
            (page, from, Encoding::PLAIN)
        };
        self.levels = levels;
        let bounds = self.end_bounds();
        let page = DataPage {
            bytes,
            from,
            rows: self.rows,
            nulls: self.nulls,
            encoding,
            bounds,
        };
        self.pages.push(page, compressor);
        self.all_nulls += self.nulls;
        self.present.clear();
        self.rows = 0;
        self.nulls = 0;
        self.codes.clear();
    }

    /// The page's bounds, which become part of the row group's.
    fn end_bounds(&mut self) -> Option<Bounds> {
        if !self.in_statistics {
            return None;
        }
        if self.in_dictionary {
            self.compared.clear();
            self.compared.resize(self.dictionary.len(), false);
            for &code in &self.codes {
                if !std::mem::replace(&mut self.compared[code as usize], true) {
                    extend_bounds(&mut self.bounds, self.dictionary.text(code));
                }
            }
        }
        let Some((min, max)) = self.bounds.take() else {
            return Some(Bounds::Null);
        };
        if min.len().max(max.len()) > STATISTICS_BYTES {
            self.in_statistics = false;
            return None;
        }
        extend_bounds(&mut self.all_bounds, &min);
        extend_bounds(&mut self.all_bounds, &max);
        Some(Bounds::Between(min, max))
    }

    /// Ends the row group's column and starts the next one's.
    pub(super) fn end(&mut self, compressor: &Compressor) -> EndedColumn {
        self.end_page(compressor);
        let statistics = self.in_statistics.then(|| {
            let (min, max) = self.all_bounds.take().unzip();
            let [min, max] = [min, max].map(|bound| bound.map(ByteArray::from));
            Statistics::byte_array(min, max, None, Some(self.all_nulls as u64), false)
        });
        let dictionary = self.with_dictionary.then(|| {
            let (page, entries) = self.dictionary.take();
            DictionaryPage::of(page, entries, compressor)
        });
        self.in_dictionary = self.with_dictionary;
        self.in_statistics = self.with_statistics;
        self.all_bounds = None;
        self.all_nulls = 0;
        EndedColumn {
            pages: std::mem::replace(&mut self.pages, Pages::new(self.column.clone())),
            dictionary,
            statistics,
        }
    }
}

fn extend_bounds(bounds: &mut Option<(Vec<u8>, Vec<u8>)>, text: &[u8]) {
    match bounds {
        None => *bounds = Some((text.to_vec(), text.to_vec())),
        Some((min, max)) => {
            if text < min.as_slice() {
                text.clone_into(min);
            }
            if text > max.as_slice() {
                text.clone_into(max);
            }
        }
    }
}
