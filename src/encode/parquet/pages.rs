//! The pages of one column of a row group, compressed, and what the file says about them.

use std::io::Read;

use bytes::Bytes;
use parquet::basic::{Compression, Encoding, PageType, ZstdLevel};
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

/// ZSTD's level: more costs more than it saves.
const ZSTD_LEVEL: i32 = 1;

/// Compresses pages, one after the other. Holds the largest one's compressed bytes, up to [`MAX_KEPT_BYTES`].
pub(super) struct Compressor {
    zstd: zstd::bulk::Compressor<'static>,
    compressed: Vec<u8>,
}

/// Room that is kept from page to page, in bytes.
const MAX_KEPT_BYTES: usize = 8 << 20;

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Compressor")
    }
}

impl Compressor {
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            zstd: zstd::bulk::Compressor::new(ZSTD_LEVEL)?,
            compressed: Vec::new(),
        })
    }

    fn compress(&mut self, page: &[u8]) -> Result<Bytes> {
        let bound = zstd::zstd_safe::compress_bound(page.len());
        self.compressed.clear();
        self.compressed.reserve(bound);
        self.zstd.compress_to_buffer(page, &mut self.compressed)?;
        let compressed = Bytes::copy_from_slice(&self.compressed);
        self.compressed.clear();
        self.compressed.shrink_to(MAX_KEPT_BYTES);
        Ok(compressed)
    }
}

/// What the rows of a page are between, for readers that skip pages.
#[derive(Debug)]
pub(super) enum Bounds {
    /// All values are null.
    Null,
    /// Smallest and largest value, as the file has them.
    Between(Vec<u8>, Vec<u8>),
}

/// A data page that is full.
pub(super) struct DataPage<'a> {
    /// Levels and values.
    pub(super) bytes: &'a [u8],
    pub(super) rows: usize,
    pub(super) nulls: usize,
    pub(super) encoding: Encoding,
    /// `None` where the column has no statistics.
    pub(super) bounds: Option<Bounds>,
}

/// The pages so far.
pub(super) struct Pages {
    column: ColumnDescPtr,
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
            written: TrackedWrite::new(Vec::new()),
            uncompressed: 0,
            rows: 0,
            encodings: Vec::new(),
            column_index: ColumnIndexBuilder::new(column.physical_type()),
            offset_index: OffsetIndexBuilder::new(),
            column,
        }
    }

    /// Bytes that the pages take in the file.
    pub(super) fn bytes(&self) -> usize {
        self.written.bytes_written()
    }

    pub(super) fn push(&mut self, page: DataPage<'_>, compressor: &mut Compressor) -> Result<()> {
        let data_page = Page::DataPage {
            buf: compressor.compress(page.bytes)?,
            num_values: page.rows as u32,
            encoding: page.encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let data_page = CompressedPage::new(data_page, page.bytes.len());
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

    /// Ends the column: its bytes, and what the file says about them. A dictionary is its page's bytes and how many
    /// entries it has.
    pub(super) fn finish(
        mut self,
        dictionary: Option<(&[u8], usize)>,
        statistics: Option<Statistics>,
        compressor: &mut Compressor,
    ) -> Result<(ColumnBytes, ColumnCloseResult)> {
        let mut front = TrackedWrite::new(Vec::new());
        if let Some((bytes, entries)) = dictionary {
            let page = Page::DictionaryPage {
                buf: compressor.compress(bytes)?,
                num_values: entries as u32,
                encoding: Encoding::PLAIN,
                is_sorted: false,
            };
            let page = CompressedPage::new(page, bytes.len());
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
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
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
