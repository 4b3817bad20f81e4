//! The pages of one column of a row group, compressed, and what the file says about them.

use std::collections::VecDeque;
use std::io::Read;

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
    /// Levels and values.
    pub(super) bytes: Vec<u8>,
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
            compressed: compressor.compress(bytes),
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

    /// Has a page compressed behind the others.
    pub(super) fn push(&mut self, page: DataPage, compressor: &Compressor) {
        self.pending.push_back(Pending {
            uncompressed: page.bytes.len(),
            compressed: compressor.compress(page.bytes),
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
        let pages = Bytes::from(self.written.into_inner()?);
        let compressed = front.len() + pages.len();

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
    pages: Bytes,
}

impl Length for ColumnBytes {
    fn len(&self) -> u64 {
        (self.front.len() + self.pages.len()) as u64
    }
}

impl ChunkReader for ColumnBytes {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let start = start as usize;
        let front = self.front.slice(start.min(self.front.len())..);
        let pages = self.pages.slice(start.saturating_sub(self.front.len())..);
        Ok(Box::new(
            std::io::Cursor::new(front).chain(std::io::Cursor::new(pages)),
        ))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let mut bytes = Vec::with_capacity(length);
        self.get_read(start)?
            .take(length as u64)
            .read_to_end(&mut bytes)?;
        Ok(Bytes::from(bytes))
    }
}
