//! Objects key by key: of chosen columns, in any order.

use super::{Framing, JsonEncoder, value};
use crate::decode::Batch;
use crate::encode::output::Output;
use crate::encode::timestamp::no_text;
use crate::error::Result;
use crate::request::Field;

impl JsonEncoder {
    /// As [`JsonEncoder::batch`], of the columns that were asked for.
    pub(super) fn batch_by_field(&mut self, batch: &Batch<'_>) -> Result<()> {
        let Self {
            output,
            time,
            dictionaries,
            fields,
            data_as_string,
            ..
        } = self;
        let value = |output: &mut Output, column, text: &[u8]| {
            // Any other column has strings.
            let column = if *data_as_string { 0 } else { column };
            value(output, column, text);
        };
        dictionaries.render(batch, value);
        for row in 0..batch.rows() {
            let (ms, offset) = (batch.timestamps[row], batch.offsets[row]);
            let Some((time, time_len)) = time.render(ms, offset) else {
                return Err(no_text(self.rows + 1, ms, offset));
            };
            if self.framing == Framing::Array && self.rows > 0 {
                output.put(b",\n");
            }
            for (place, field) in fields.iter().enumerate() {
                output.put(if place == 0 { b"{\"" } else { b",\"" });
                output.put(field.name().as_bytes());
                output.put(b"\":");
                match field {
                    Field::Timestamp => {
                        output.put_byte(b'"');
                        output.put(&time[..time_len]);
                        output.put_byte(b'"');
                    }
                    Field::EventType => {
                        output.put_byte(b'"');
                        output.put(batch.event_types[row].as_str().as_bytes());
                        output.put_byte(b'"');
                    }
                    Field::Text(column) => match dictionaries.get(batch, column, row) {
                        Some(rendered) => output.put(rendered),
                        None => value(output, column, batch.text[column].get(row)),
                    },
                }
            }
            output.put_byte(b'}');
            if self.framing == Framing::Lines {
                output.put_byte(b'\n');
            }
            self.rows += 1;
        }
        Ok(())
    }
}
