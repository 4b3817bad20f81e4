//! Columns that one thread works on at a time.

use parquet::errors::Result;
use parquet::schema::types::ColumnDescPtr;

use super::chunks::TextChunk;
use super::compressor::Compressor;
use super::neighbours::Neighbours;
use super::pages::{EndedColumn, Pages};
use super::properties::{WITH_STATISTICS, WITHOUT_DICTIONARY};
use super::rows::{RowTexts, Rows};
use super::times::TimeChunk;
use crate::decode::{EventType, Span, TextColumn};
use crate::encode::combinations::NEIGHBOURS;
use crate::request::{Field, Fields};

/// The names of the event types, and where they lie.
const EVENT_TYPES: &[u8] = b"pageviewevent";
const EVENT_TYPE_SPANS: [Span; 2] = {
    let pageview = EventType::Pageview.as_str().len() as u32;
    let event = EventType::Event.as_str().len() as u32;
    [
        Span {
            start: 0,
            len: pageview,
        },
        Span {
            start: pageview,
            len: event,
        },
    ]
};

/// A column of texts that the file has.
#[derive(Debug)]
pub(super) struct Texts {
    /// Its place in the file, and that among `TEXT_COLUMNS`.
    place: usize,
    pub(super) column: usize,
    pub(super) chunk: TextChunk,
}

/// Some of the columns of a row group in the making, with their places in the file.
#[derive(Debug, Default)]
pub(super) struct Share {
    times: Option<(usize, TimeChunk)>,
    event_types: Option<(usize, TextChunk)>,
    texts: Vec<Texts>,
    /// What the texts have together, where they are looked up together.
    neighbours: Option<Neighbours>,
}

impl Share {
    /// All of a file's columns: texts that are alone, which are most of the work, then neighbours, then the little rest.
    pub(super) fn all_of(fields: &Fields, columns: &[ColumnDescPtr]) -> Vec<Self> {
        let (mut little, mut alone) = (Self::default(), Vec::new());
        let mut together = NEIGHBOURS.map(|_| Self::default());
        for (place, (field, column)) in fields.iter().zip(columns).enumerate() {
            let chunk = |name| {
                let dictionary = !WITHOUT_DICTIONARY.contains(&name);
                TextChunk::new(column, dictionary, WITH_STATISTICS.contains(&name))
            };
            match field {
                Field::Timestamp => little.times = Some((place, TimeChunk::new(column))),
                Field::EventType => little.event_types = Some((place, chunk(field.name()))),
                Field::Text(column) => {
                    let text = Texts {
                        place,
                        column,
                        chunk: chunk(field.name()),
                    };
                    let mut groups = NEIGHBOURS.iter().zip(&mut together);
                    match groups.find(|(columns, _)| columns.contains(&column)) {
                        Some((_, share)) => share.texts.push(text),
                        None => alone.push(Self {
                            texts: vec![text],
                            ..Self::default()
                        }),
                    }
                }
            }
        }
        for (columns, share) in NEIGHBOURS.iter().zip(&mut together) {
            share.neighbours = (share.texts.len() > 1).then(|| Neighbours::new(columns.clone()));
        }
        let shares = alone.into_iter().chain(together).chain([little]);
        shares.filter(|share| !share.is_empty()).collect()
    }

    fn is_empty(&self) -> bool {
        self.times.is_none() && self.event_types.is_none() && self.texts.is_empty()
    }

    /// Adds rows, [`TILE_ROWS`](super::rows::TILE_ROWS) at most where they lie side by side.
    pub(super) fn add(&mut self, rows: &Rows<'_>, compressor: &Compressor) {
        if let Some((_, times)) = &mut self.times {
            for ms in rows.timestamps {
                // Times that have a text fit microseconds as well.
                times.push(ms.wrapping_mul(1000), compressor);
            }
        }
        if let Some((_, chunk)) = &mut self.event_types {
            let code = |row: usize| match rows.event_types[row] {
                EventType::Pageview => 0,
                EventType::Event => 1,
            };
            let (bytes, spans) = (EVENT_TYPES, &EVENT_TYPE_SPANS);
            chunk.extend_codes(bytes, spans, rows.len(), code, compressor);
        }
        match rows.texts {
            RowTexts::SideBySide { bytes, spans } => match &mut self.neighbours {
                Some(neighbours) => neighbours.extend(bytes, spans, &mut self.texts, compressor),
                None => {
                    for Texts { column, chunk, .. } in &mut self.texts {
                        let span = |row: usize| spans[row][*column];
                        chunk.extend(bytes, spans.len(), span, compressor);
                    }
                }
            },
            RowTexts::ByColumn { text, start } => {
                for Texts { column, chunk, .. } in &mut self.texts {
                    match text[*column] {
                        TextColumn::Dictionary {
                            bytes,
                            entries,
                            codes,
                        } => {
                            let code = |row: usize| codes[start + row] as usize;
                            chunk.extend_codes(bytes, entries, rows.len(), code, compressor);
                        }
                        TextColumn::Plain {
                            bytes,
                            spans,
                            stride,
                        } => {
                            let span = |row: usize| spans[(start + row) * stride];
                            chunk.extend(bytes, rows.len(), span, compressor);
                        }
                    }
                }
            }
        }
    }

    /// Encoded bytes so far.
    pub(super) fn bytes(&mut self) -> Result<usize> {
        let mut bytes = 0;
        if let Some((_, times)) = &mut self.times {
            bytes += times.bytes()?;
        }
        if let Some((_, event_types)) = &mut self.event_types {
            bytes += event_types.bytes()?;
        }
        for text in &mut self.texts {
            bytes += text.chunk.bytes()?;
        }
        Ok(bytes)
    }

    /// Ends the row group's columns and starts the next one's. Gives them with their places in the file.
    pub(super) fn end(&mut self, compressor: &Compressor) -> Vec<(usize, EndedColumn)> {
        let times = self.times.iter_mut();
        let times = times.map(|(place, times)| (*place, times.end(compressor)));
        let event_types = self.event_types.iter_mut();
        let event_types = event_types.map(|(place, chunk)| (*place, chunk.end(compressor)));
        let texts = self.texts.iter_mut();
        let texts = texts.map(|text| (text.place, text.chunk.end(compressor)));
        // Their codes go with the dictionaries.
        self.neighbours.iter_mut().for_each(Neighbours::clear);
        times.chain(event_types).chain(texts).collect()
    }

    /// The pages of the column that has this place in the file.
    pub(super) fn pages(&mut self, place: usize) -> Option<&mut Pages> {
        let times = self.times.iter_mut();
        let times = times.map(|(of, times)| (*of, times.pages()));
        let event_types = self.event_types.iter_mut();
        let event_types = event_types.map(|(of, chunk)| (*of, chunk.pages()));
        let texts = self.texts.iter_mut();
        let texts = texts.map(|text| (text.place, text.chunk.pages()));
        let mut columns = times.chain(event_types).chain(texts);
        columns.find(|(of, _)| *of == place).map(|(_, pages)| pages)
    }
}
