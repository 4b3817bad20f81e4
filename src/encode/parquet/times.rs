//! The column of times of a row group in the making.

use parquet::basic::Encoding;
use parquet::errors::Result;
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnDescPtr;

use super::chunks::PAGE_ROWS;
use super::compressor::Compressor;
use super::pages::{Bounds, DataPage, EndedColumn, Pages};

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
