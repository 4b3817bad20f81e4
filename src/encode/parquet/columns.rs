//! All columns of a row group in the making, shared among threads where cores are free.

use std::sync::Arc;

use parquet::errors::Result;
use parquet::schema::types::ColumnDescPtr;

use super::compressor::Compressor;
use super::pages::EndedColumn;
use super::rows::Rows;
use super::share::Share;
use crate::encode::helpers::Helpers;
use crate::request::{Compression, Fields};

/// Rows of fewer bytes of text are added sooner than handed to another thread.
const MIN_SHARED_BYTES: usize = 128 << 10;

/// The columns, and who works on them.
#[derive(Debug)]
pub(super) struct Columns {
    shares: Vec<Share>,
    compressor: Compressor,
    helpers: Option<Arc<Helpers>>,
    /// Bytes of text whose columns were shared.
    #[cfg(test)]
    shared_bytes: usize,
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
            #[cfg(test)]
            shared_bytes: 0,
        })
    }

    /// Whether other threads would take a part of what is added now.
    pub(super) fn are_shared(&self) -> bool {
        let helpers = self.helpers.as_ref().filter(|_| self.shares.len() > 1);
        helpers.is_some_and(|helpers| helpers.free(self.compressor.own_jobs()) > 0)
    }

    /// Adds rows.
    pub(super) fn add(&mut self, rows: &Rows<'_>) {
        let helpers = self.helpers.as_ref();
        let cores = helpers.map(|helpers| helpers.take(self.compressor.own_jobs()));
        let compressor = &self.compressor;
        let is_much = rows.text_bytes >= MIN_SHARED_BYTES && self.shares.len() > 1;
        match cores {
            Some(cores) if is_much && cores.beside() > 0 => {
                #[cfg(test)]
                {
                    self.shared_bytes += rows.text_bytes;
                }
                cores.each(&mut self.shares, |share| {
                    rows.tiles().for_each(|rows| share.add(&rows, compressor));
                });
            }
            _ => {
                for rows in rows.tiles() {
                    for share in &mut self.shares {
                        share.add(&rows, compressor);
                    }
                }
            }
        }
    }

    /// Bytes of text whose columns were shared among several threads so far.
    #[cfg(test)]
    pub(super) fn shared_bytes(&self) -> usize {
        self.shared_bytes
    }

    /// Encoded bytes so far.
    ///
    /// # Errors
    ///
    /// A page cannot be compressed.
    pub(super) fn bytes(&mut self) -> Result<usize> {
        self.shares.iter_mut().map(Share::bytes).sum()
    }

    /// Ends the row group's columns and starts the next one's. Gives them in the file's order, with pages that are still compressed.
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
