//! All columns of a row group in the making, shared among threads where cores are free.

use std::sync::Arc;

use parquet::errors::Result;
use parquet::schema::types::ColumnDescPtr;

use super::compressor::Compressor;
use super::pages::EndedColumn;
use super::rows::Rows;
use super::share::Share;
use crate::encode::helpers::{Cores, Helpers};
use crate::request::{Compression, Fields};

/// Fewer rows than these are added sooner than handed to another thread.
const MIN_SHARED_ROWS: usize = 1_000;

/// The columns, and who works on them.
#[derive(Debug)]
pub(super) struct Columns {
    shares: Vec<Share>,
    compressor: Compressor,
    helpers: Option<Arc<Helpers>>,
    /// Cores that are busy with the file in any case.
    own_cores: usize,
}

impl Columns {
    /// Those of a file at its start.
    ///
    /// # Errors
    ///
    /// There is no memory for the compressor.
    pub(super) fn new(
        fields: &Fields,
        columns: &[ColumnDescPtr],
        compression: Compression,
        helpers: Option<Arc<Helpers>>,
    ) -> Result<Self> {
        Ok(Self {
            shares: Share::all_of(fields, columns),
            compressor: Compressor::new(compression, helpers.clone())?,
            helpers,
            own_cores: match compression {
                Compression::None => 1,
                // One for the columns, and one for their pages.
                Compression::Zstd | Compression::Snappy => 2,
            },
        })
    }

    /// Whether other threads would take a part of what is added now.
    pub(super) fn are_shared(&self) -> bool {
        let cores = self.helpers.as_ref();
        cores.is_some_and(|helpers| helpers.take(self.own_cores).beside() > 0)
    }

    /// Adds rows.
    pub(super) fn add(&mut self, rows: Rows<'_>) {
        let cores = self.helpers.as_ref();
        let cores = cores.map(|helpers| helpers.take(self.own_cores));
        let compressor = &self.compressor;
        let is_shared = |cores: &&Cores<'_>| cores.beside() > 0 && rows.len() >= MIN_SHARED_ROWS;
        if let Some(cores) = cores.as_ref().filter(is_shared) {
            cores.each(&mut self.shares, |share| {
                rows.tiles().for_each(|rows| share.add(&rows, compressor));
            });
            return;
        }
        for rows in rows.tiles() {
            for share in &mut self.shares {
                share.add(&rows, compressor);
            }
        }
    }

    /// Encoded bytes so far.
    ///
    /// # Errors
    ///
    /// A page cannot be compressed.
    pub(super) fn bytes(&mut self) -> Result<usize> {
        self.shares.iter_mut().map(Share::bytes).sum()
    }

    /// Ends the row group's columns and starts the next one's. Gives them in the file's order; none was waited for.
    pub(super) fn end(&mut self) -> Vec<(usize, EndedColumn)> {
        let compressor = &self.compressor;
        let shares = self.shares.iter_mut();
        let mut columns: Vec<_> = shares.flat_map(|share| share.end(compressor)).collect();
        columns.sort_by_key(|(place, _)| *place);
        columns
    }

    /// Gives the room of a column, by its place in the file, to its next row group.
    pub(super) fn reuse(&mut self, place: usize, room: Vec<u8>) {
        let mut shares = self.shares.iter_mut();
        if let Some(pages) = shares.find_map(|share| share.pages(place)) {
            pages.reuse(room);
        }
    }
}
