//! Rows cell by cell: of chosen columns, in any order, and safe for spreadsheets.

use super::spreadsheet::safe_cell;
use super::{CsvEncoder, cell};
use crate::decode::Batch;
use crate::encode::timestamp::no_text;
use crate::error::Result;
use crate::request::Field;

impl CsvEncoder {
    /// As [`CsvEncoder::batch`], of the columns that were asked for.
    pub(super) fn batch_by_field(&mut self, batch: &Batch<'_>) -> Result<()> {
        let Self {
            output,
            time,
            dictionaries,
            fields,
            spreadsheet,
            ..
        } = self;
        let cell = if *spreadsheet { safe_cell } else { cell };
        dictionaries.render(batch, |output, _, text| cell(output, text));
        for row in 0..batch.rows() {
            let (ms, offset) = (batch.timestamps[row], batch.offsets[row]);
            let Some((time, time_len)) = time.render(ms, offset) else {
                return Err(no_text(self.rows + 1, ms, offset));
            };
            let start = output.len();
            for (place, field) in fields.iter().enumerate() {
                if place > 0 {
                    output.put_byte(b',');
                }
                match field {
                    Field::Timestamp => output.put(&time[..time_len]),
                    Field::EventType => output.put(batch.event_types[row].as_str().as_bytes()),
                    Field::Text(column) => match dictionaries.get(batch, column, row) {
                        Some(rendered) => output.put(rendered),
                        None => cell(output, batch.text[column].get(row)),
                    },
                }
            }
            if output.len() == start {
                // Readers skip an empty line, and with it the row.
                output.put(b"\"\"");
            }
            output.put_byte(b'\n');
            self.rows += 1;
        }
        Ok(())
    }
}
