//! The pages of one column of a row group, compressed, and what the file says about them.

use std::collections::VecDeque;
use std::io::{Cursor, Read};
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::Result;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::compressor::{Compressed, Compressor};

/// Room for a column's bytes that is kept from row group to row group, in bytes.
const MAX_KEPT_BYTES: usize = 4 << 20;

/// What the rows of a page are between, for readers that skip pages.
#[derive(Debug)]
pub(super) enum Bounds {
    /// All values are null.
    Null,
    /// Smallest and largest value, as the file has them.
    Between(Vec<u8>, Vec<u8>),
}

/// A data page that is full.
pub(super) struct DataPage {
    /// Levels and values, from a place on.
    pub(super) bytes: Vec<u8>,
    pub(super) from: usize,
    pub(super) rows: usize,
    pub(super) nulls: usize,
    pub(super) encoding: Encoding,
    /// `None` where the column has no statistics.
    pub(super) bounds: Option<Bounds>,
}

/// The dictionary of a column, which is being compressed.
pub(super) struct DictionaryPage {
    compressed: Compressed,
    uncompressed: usize,
    entries: usize,
}

impl DictionaryPage {
    /// Has a dictionary's page compressed.
    pub(super) fn of(bytes: Vec<u8>, entries: usize, compressor: &Compressor) -> Self {
        Self {
            uncompressed: bytes.len(),
            compressed: compressor.compress(bytes, 0),
            entries,
        }
    }
}

/// A page that is being compressed, and what is known of it.
struct Pending {
    compressed: Compressed,
    uncompressed: usize,
    rows: usize,
    nulls: usize,
    encoding: Encoding,
    bounds: Option<Bounds>,
}

/// The pages so far.
pub(super) struct Pages {
    column: ColumnDescPtr,
    pending: VecDeque<Pending>,
    /// How many of them were there when the pages were counted last.
    due: usize,
    written: TrackedWrite<Vec<u8>>,
    uncompressed: usize,
    rows: usize,
    encodings: Vec<PageEncodingStats>,
    column_index: ColumnIndexBuilder,
    offset_index: OffsetIndexBuilder,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages")
            .field("column", &self.column.name())
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl Pages {
    pub(super) fn new(column: ColumnDescPtr) -> Self {
        Self {
            pending: VecDeque::new(),
            due: 0,
            written: TrackedWrite::new(Vec::new()),
            uncompressed: 0,
            rows: 0,
            encodings: Vec::new(),
            column_index: ColumnIndexBuilder::new(column.physical_type()),
            offset_index: OffsetIndexBuilder::new(),
            column,
        }
    }

    /// Bytes that the pages take in the file, but for those that came since this was asked last: so the answer depends on
    /// the pages alone, and seldom has to wait for one.
    ///
    /// # Errors
    ///
    /// A page cannot be compressed.
    pub(super) fn bytes(&mut self) -> Result<usize> {
        for _ in 0..self.due {
            self.write_next()?;
        }
        self.due = self.pending.len();
        Ok(self.written.bytes_written())
    }

    /// Takes the room of an earlier row group for what is written, if nothing is yet.
    pub(super) fn reuse(&mut self, room: Vec<u8>) {
        if self.written.bytes_written() == 0 {
            self.written = TrackedWrite::new(room);
        }
    }

    /// Has a page compressed behind the others.
    pub(super) fn push(&mut self, page: DataPage, compressor: &Compressor) {
        self.pending.push_back(Pending {
            uncompressed: page.bytes.len() - page.from,
            compressed: compressor.compress(page.bytes, page.from),
            rows: page.rows,
            nulls: page.nulls,
            encoding: page.encoding,
            bounds: page.bounds,
        });
    }

    /// Writes the first page that is pending, if any.
    fn write_next(&mut self) -> Result<()> {
        let Some(page) = self.pending.pop_front() else {
            return Ok(());
        };
        let data_page = Page::DataPage {
            buf: page.compressed.wait()?,
            num_values: page.rows as u32,
            encoding: page.encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let data_page = CompressedPage::new(data_page, page.uncompressed);
        let spec = SerializedPageWriter::new(&mut self.written).write_page(data_page)?;
        self.uncompressed += spec.uncompressed_size;
        self.rows += page.rows;
        match self.encodings.last_mut() {
            Some(last) if last.encoding == page.encoding => last.count += 1,
            _ => self.encodings.push(PageEncodingStats {
                page_type: PageType::DATA_PAGE,
                encoding: page.encoding,
                count: 1,
            }),
        }
        self.offset_index.append_row_count(page.rows as i64);
        self.offset_index
            .append_offset_and_size(spec.offset as i64, spec.compressed_size as i32);
        match page.bounds {
            None => self.column_index.to_invalid(),
            Some(Bounds::Null) => {
                self.column_index
                    .append(true, vec![], vec![], page.nulls as i64, None);
            }
            Some(Bounds::Between(min, max)) => {
                self.column_index
                    .append(false, min, max, page.nulls as i64, None);
            }
        }
        Ok(())
    }

    /// The column as it is.
    ///
    /// # Errors
    ///
    /// A page cannot be compressed.
    fn finish(
        mut self,
        dictionary: Option<DictionaryPage>,
        statistics: Option<Statistics>,
        compression: Compression,
    ) -> Result<(ColumnBytes, ColumnCloseResult)> {
        while !self.pending.is_empty() {
            self.write_next()?;
        }
        let mut front = TrackedWrite::new(Vec::new());
        if let Some(dictionary) = dictionary {
            let page = Page::DictionaryPage {
                buf: dictionary.compressed.wait()?,
                num_values: dictionary.entries as u32,
                encoding: Encoding::PLAIN,
                is_sorted: false,
            };
            let page = CompressedPage::new(page, dictionary.uncompressed);
            let spec = SerializedPageWriter::new(&mut front).write_page(page)?;
            self.uncompressed += spec.uncompressed_size;
            let dictionary = PageEncodingStats {
                page_type: PageType::DICTIONARY_PAGE,
                encoding: Encoding::PLAIN,
                count: 1,
            };
            self.encodings.insert(0, dictionary);
        }
        let front = Bytes::from(front.into_inner()?);
        let pages = Shared(Arc::new(self.written.into_inner()?));
        let compressed = front.len() + pages.0.len();

        let mut encodings: Vec<_> = self.encodings.iter().map(|pages| pages.encoding).collect();
        encodings.push(Encoding::RLE);
        let mut metadata = ColumnChunkMetaData::builder(self.column)
            .set_compression(compression)
            .set_encodings(encodings)
            .set_page_encoding_stats(self.encodings)
            .set_num_values(self.rows as i64)
            .set_total_compressed_size(compressed as i64)
            .set_total_uncompressed_size(self.uncompressed as i64)
            .set_data_page_offset(0);
        let column_index = if self.column_index.valid() {
            Some(self.column_index.build()?)
        } else {
            None
        };
        if let Some(statistics) = statistics {
            metadata = metadata.set_statistics(statistics);
        }
        let close = ColumnCloseResult {
            bytes_written: compressed as u64,
            rows_written: self.rows as u64,
            metadata: metadata.build()?,
            bloom_filter: None,
            column_index,
            offset_index: Some(self.offset_index.build()),
        };
        let close = close.update_dictionary_location(front.len())?;
        Ok((ColumnBytes { front, pages }, close))
    }
}

/// A column of a row group that has all of its pages; some may still be compressed.
pub(super) struct EndedColumn {
    pub(super) pages: Pages,
    pub(super) dictionary: Option<DictionaryPage>,
    pub(super) statistics: Option<Statistics>,
}

impl EndedColumn {
    /// The column's bytes, and what the file says about them.
    ///
    /// # Errors
    ///
    /// A page cannot be compressed.
    pub(super) fn finish(
        self,
        compression: Compression,
    ) -> Result<(ColumnBytes, ColumnCloseResult)> {
        self.pages
            .finish(self.dictionary, self.statistics, compression)
    }
}

/// The bytes of a column: its dictionary page in front, which is the last one to be known.
pub(super) struct ColumnBytes {
    front: Bytes,
    pages: Shared,
}

#[derive(Clone)]
struct Shared(Arc<Vec<u8>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl ColumnBytes {
    /// The room of the bytes, once they are written, for those of the next row group.
    pub(super) fn into_room(self) -> Vec<u8> {
        let mut room = Arc::try_unwrap(self.pages.0).unwrap_or_default();
        room.clear();
        room.shrink_to(MAX_KEPT_BYTES);
        room
    }
}

impl Length for ColumnBytes {
    fn len(&self) -> u64 {
        (self.front.len() + self.pages.0.len()) as u64
    }
}

impl ChunkReader for ColumnBytes {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let start = start as usize;
        let front = self.front.slice(start.min(self.front.len())..);
        let mut pages = Cursor::new(self.pages.clone());
        pages.set_position(start.saturating_sub(self.front.len()) as u64);
        Ok(Box::new(Cursor::new(front).chain(pages)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let mut bytes = Vec::with_capacity(length);
        self.get_read(start)?
            .take(length as u64)
            .read_to_end(&mut bytes)?;
        Ok(Bytes::from(bytes))
    }
}
