//! A column of texts of a row group in the making.
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
use super::plain::{MOST_COPIED_BYTES, copy_short};
use crate::decode::Span;
use crate::encode::rows::as_utf8;

/// Most rows of a page.
pub(super) const PAGE_ROWS: usize = 20_000;

/// A page ends with the value that reaches this many bytes.
const PAGE_BYTES: usize = 4 << 20;

/// Room in front of a page's texts for its definition levels: their length, that of their run, and a bit for each row.
const LEVELS_ROOM: usize = 4 + 3 + PAGE_ROWS.div_ceil(8);

/// A column whose distinct texts take more bytes than this is written without a dictionary from there on.
const DICTIONARY_BYTES: usize = 1 << 20;

/// The code of a text that was not looked up yet: no dictionary is so large.
const UNKNOWN: u32 = u32::MAX;

/// And of the empty text, which has none.
pub(super) const ABSENT: u32 = UNKNOWN - 1;

/// Longest text that statistics hold, in bytes. A column with a longer one has no statistics.
const STATISTICS_BYTES: usize = 64;

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
    /// Which codes a page has, for its bounds.
    used: Vec<bool>,
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
            used: Vec::new(),
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
                self.take_plain(bytes, next, &span)
            };
            let dictionary_full = self.in_dictionary && self.dictionary_full();
            self.took(present, rows, dictionary_full, compressor);
            done += rows;
        }
    }

    /// Adds texts, so many, that come as codes into distinct ones; each of these is looked up once.
    pub(super) fn extend_codes(
        &mut self,
        bytes: &[u8],
        entries: &[Span],
        count: usize,
        code: impl Fn(usize) -> usize,
        compressor: &Compressor,
    ) {
        let mut known = std::mem::take(&mut self.known);
        known.clear();
        known.extend(entries.iter().map(|entry| match entry.len {
            0 => ABSENT,
            _ => UNKNOWN,
        }));
        let mut done = 0;
        while self.in_dictionary && done < count {
            let next = done..count.min(done + self.most_next());
            let (present, rows) = match self.take_known(next.len(), |text| known[code(done + text)])
            {
                Some(present) => (present, next.len()),
                None => {
                    let look_up = |dictionary: &mut Dictionary, text: usize| {
                        let place = &mut known[code(text)];
                        if *place == UNKNOWN {
                            *place = dictionary.code(bytes, entries[code(text)]);
                        }
                        *place
                    };
                    self.take_codes(next, |text| entries[code(text)], look_up)
                }
            };
            self.took(present, rows, self.dictionary_full(), compressor);
            done += rows;
        }
        self.known = known;
        let span = |text: usize| entries[code(done + text)];
        self.extend(bytes, count - done, span, compressor);
    }

    /// Whether what is looked up may be added with [`TextChunk::extend_looked_up`].
    pub(super) fn in_dictionary(&self) -> bool {
        self.in_dictionary
    }

    /// How many rows there is room for in the page.
    pub(super) fn page_room(&self) -> usize {
        PAGE_ROWS - self.rows
    }

    /// The code of a text that is added behind all those that were looked up before it.
    pub(super) fn look_up(&mut self, bytes: &[u8], span: Span) -> u32 {
        match span.len {
            0 => ABSENT,
            _ => self.dictionary.code(bytes, span),
        }
    }

    /// Adds texts that were looked up, in order: no more than the page has room for, and none behind that which made the
    /// dictionary full.
    pub(super) fn extend_looked_up(&mut self, codes: &[u32], compressor: &Compressor) {
        let mut rest = codes;
        while !rest.is_empty() {
            let (next, behind) = rest.split_at(self.most_next().min(rest.len()));
            let present = self.take_looked_up(next);
            let dictionary_full = behind.is_empty() && self.dictionary_full();
            self.took(present, next.len(), dictionary_full, compressor);
            rest = behind;
        }
    }

    /// Takes 64 texts at most by their codes. Gives a bit for each that is there.
    #[inline(always)]
    fn take_looked_up(&mut self, codes: &[u32]) -> u64 {
        let absent = codes.iter().map(|&code| u32::from(code == ABSENT));
        let absent = absent.sum::<u32>() as usize;
        if absent == codes.len() {
            return 0;
        }
        if absent == 0 {
            self.codes.extend_from_slice(codes);
            return u64::MAX >> (64 - codes.len());
        }
        let present = self.take_known(codes.len(), |text| codes[text]);
        debug_assert!(present.is_some(), "what was looked up is known");
        present.unwrap_or_default()
    }

    /// How many rows there is room for in the last word of those that say what is there, and in the page.
    fn most_next(&self) -> usize {
        (64 - self.rows % 64).min(PAGE_ROWS - self.rows)
    }

    /// Counts rows whose texts were taken, and ends the page or the dictionary with them if they are full.
    fn took(&mut self, present: u64, rows: usize, dictionary_full: bool, compressor: &Compressor) {
        let first = self.rows % 64;
        match self.present.last_mut() {
            Some(word) if first > 0 => *word |= present << first,
            _ => self.present.push(present),
        }
        self.rows += rows;
        self.nulls += rows - present.count_ones() as usize;
        if dictionary_full || self.plain_bytes() >= PAGE_BYTES || self.rows >= PAGE_ROWS {
            self.end_page(compressor);
        }
        self.in_dictionary &= !dictionary_full;
    }

    /// Bytes of the texts that are written without a dictionary.
    fn plain_bytes(&self) -> usize {
        self.plain.len().saturating_sub(LEVELS_ROOM)
    }

    /// Whether the page is the last one that has codes.
    pub(super) fn dictionary_full(&self) -> bool {
        self.dictionary.page().len() >= DICTIONARY_BYTES || self.dictionary.is_full()
    }

    /// Takes so many texts, 64 at most, by their codes, if all of them are known. Gives a bit for each text that is there.
    #[inline(always)]
    fn take_known(&mut self, count: usize, code: impl Fn(usize) -> u32) -> Option<u64> {
        let mut codes = [0; 64];
        let (mut present, mut taken, mut unknown) = (0, 0, false);
        for row in 0..count {
            let code = code(row);
            unknown |= code == UNKNOWN;
            // Written over by the next one where there is no text.
            codes[taken % 64] = code;
            taken += usize::from(code != ABSENT);
            present |= u64::from(code != ABSENT) << row;
        }
        if unknown {
            return None;
        }
        self.codes.extend_from_slice(&codes[..taken]);
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
        let there = There::among(texts.len(), |row| span(texts.start + row).len > 0);
        for &row in there.rows() {
            let known = self.dictionary.len();
            let code = look_up(&mut self.dictionary, texts.start + row);
            self.codes.push(code);
            if self.dictionary.len() != known && self.dictionary_full() {
                return (there.bits & u64::MAX >> (63 - row), row + 1);
            }
        }
        (there.bits, texts.len())
    }

    /// Copies 64 texts at most, until the page is full. Gives a bit for each that is there, and how many rows were taken.
    #[inline]
    fn take_plain(
        &mut self,
        bytes: &[u8],
        texts: Range<usize>,
        span: impl Fn(usize) -> Span,
    ) -> (u64, usize) {
        if self.plain.is_empty() {
            self.plain.resize(LEVELS_ROOM, 0);
        }
        let there = There::among(texts.len(), |row| span(texts.start + row).len > 0);
        let mut rows = there.rows();
        loop {
            // Where nothing is wanted of texts but their bytes.
            if !self.in_statistics && self.plain_bytes() + MOST_COPIED_BYTES < PAGE_BYTES {
                let spans = rows.iter().map(|row| span(texts.start + row));
                rows = &rows[copy_short(bytes, spans, &mut self.plain)..];
            }
            let Some((&row, behind)) = rows.split_first() else {
                break;
            };
            rows = behind;
            let text = as_utf8(span(texts.start + row).of(bytes));
            if self.in_statistics {
                extend_bounds(&mut self.bounds, &text);
            }
            let len = (text.len() as u32).to_le_bytes();
            self.plain.extend_from_slice(&len);
            self.plain.extend_from_slice(&text);
            if self.plain_bytes() >= PAGE_BYTES {
                return (there.bits & u64::MAX >> (63 - row), row + 1);
            }
        }
        (there.bits, texts.len())
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
            self.used.clear();
            self.used.resize(self.dictionary.len(), false);
            for &code in &self.codes {
                self.used[code as usize] = true;
            }
            for (code, _) in self.used.iter().enumerate().filter(|(_, used)| **used) {
                extend_bounds(&mut self.bounds, self.dictionary.text(code as u32));
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

/// Which rows have texts.
struct There {
    rows: [usize; 64],
    count: usize,
    /// A bit for each row.
    bits: u64,
}

impl There {
    /// Among so many rows, 64 at most. Without a branch: a processor guesses that wrongly.
    #[inline(always)]
    fn among(count: usize, is_there: impl Fn(usize) -> bool) -> Self {
        let mut there = Self {
            rows: [0; 64],
            count: 0,
            bits: 0,
        };
        for row in 0..count {
            let is_there = is_there(row);
            // Written over by the next one where there is no text.
            there.rows[there.count % 64] = row;
            there.count += usize::from(is_there);
            there.bits |= u64::from(is_there) << row;
        }
        there
    }

    fn rows(&self) -> &[usize] {
        &self.rows[..self.count]
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
