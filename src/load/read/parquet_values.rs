//! Arrow's arrays to values, for the types that writers of Parquet give our columns.

use arrow::array::{Array, ArrayRef, AsArray as _};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};

use crate::load::batch::Batch;
use crate::load::column::Column;
use crate::load::value;

/// The values of one column of a decoded batch.
pub(super) struct Values {
    column: Column,
    /// Of a type that [`kind`] names; dictionaries are resolved and numbers are `Int64`.
    array: ArrayRef,
    kind: Kind,
}

/// How a column's values are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// No value at all.
    Nothing,
    /// Strings or bytes.
    Text,
    /// `Int64` of so many units a second.
    Instant(i64),
    /// `Int64`.
    Number,
    /// `Boolean`.
    Flag,
}

impl Values {
    /// Whether a column may have this type.
    ///
    /// # Errors
    ///
    /// What is wrong and what to do, as a part of a sentence.
    pub(super) fn check_type(column: Column, found: &DataType) -> Result<(), String> {
        if column == Column::Timestamp && matches!(found, DataType::Timestamp(_, None)) {
            return Err(
                "the times are local ones of no zone, so they could be any of 27 hours: write them adjusted to UTC"
                    .to_owned(),
            );
        }
        let fits = match (column, kind(found)) {
            (_, None) => false,
            (Column::Timestamp, Some(kind)) => matches!(kind, Kind::Instant(_) | Kind::Text),
            (Column::EventType, Some(kind)) => kind == Kind::Text,
            (Column::Text(_), Some(kind)) => matches!(kind, Kind::Text | Kind::Nothing),
            (Column::IsBot, Some(kind)) => matches!(kind, Kind::Flag | Kind::Number | Kind::Text),
        };
        if fits {
            return Ok(());
        }
        let wanted = match column {
            Column::Timestamp => "a timestamp adjusted to UTC, or a string",
            Column::EventType | Column::Text(_) => "a string",
            Column::IsBot => "a boolean, or a whole number",
        };
        Err(format!("its type is {found}, which should be {wanted}"))
    }

    /// The values of an array whose type was checked.
    ///
    /// # Errors
    ///
    /// The array cannot be converted.
    pub(super) fn new(column: Column, array: &ArrayRef) -> Result<Self, String> {
        let unusable = || format!("a value of type {} cannot be read", array.data_type());
        let mut array = array.clone();
        if let DataType::Dictionary(_, values) = array.data_type() {
            array = cast(&array, values).map_err(|_| unusable())?;
        }
        let kind = kind(array.data_type()).ok_or_else(unusable)?;
        if matches!(kind, Kind::Instant(_) | Kind::Number) {
            array = cast(&array, &DataType::Int64).map_err(|_| unusable())?;
        }
        Ok(Self {
            column,
            array,
            kind,
        })
    }

    /// Adds the value of a row to a batch.
    pub(super) fn push(&self, row: usize, batch: &mut Batch) -> Result<(), String> {
        if self.kind == Kind::Nothing || self.array.is_null(row) {
            if !matches!(self.column, Column::Text(_)) {
                return Err("it is null: every event needs one".to_owned());
            }
            batch.push_text(b"");
            return Ok(());
        }
        match (self.column, self.kind) {
            (Column::Text(_), _) => batch.push_text(self.text(row)),
            (Column::Timestamp, Kind::Instant(per_second)) => {
                let units = self.array.as_primitive::<Int64Type>().value(row);
                batch.push_timestamp(value::timestamp_of_units(units, per_second)?);
            }
            (Column::Timestamp, _) => batch.push_timestamp(value::timestamp(self.text(row))?),
            (Column::EventType, _) => batch.push_byte(value::event_type(self.text(row))?),
            (Column::IsBot, Kind::Flag) => {
                batch.push_byte(self.array.as_boolean().value(row).into());
            }
            (Column::IsBot, Kind::Number) => {
                match self.array.as_primitive::<Int64Type>().value(row) {
                    flag @ 0..=1 => batch.push_byte(flag as u8),
                    _ => return Err("it is neither 0 nor 1".to_owned()),
                }
            }
            (Column::IsBot, _) => batch.push_byte(value::is_bot(self.text(row))?.into()),
        }
        Ok(())
    }

    /// The bytes of a string's or bytes' row.
    fn text(&self, row: usize) -> &[u8] {
        let array = &self.array;
        match array.data_type() {
            DataType::Utf8 => array.as_string::<i32>().value(row).as_bytes(),
            DataType::LargeUtf8 => array.as_string::<i64>().value(row).as_bytes(),
            DataType::Utf8View => array.as_string_view().value(row).as_bytes(),
            DataType::Binary => array.as_binary::<i32>().value(row),
            DataType::LargeBinary => array.as_binary::<i64>().value(row),
            DataType::BinaryView => array.as_binary_view().value(row),
            _ => b"",
        }
    }
}

/// How values of a type are read, or `None` where they are not.
fn kind(found: &DataType) -> Option<Kind> {
    Some(match found {
        DataType::Null => Kind::Nothing,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Kind::Text,
        DataType::Dictionary(_, values) => {
            return kind(values).filter(|kind| *kind == Kind::Text);
        }
        DataType::Timestamp(unit, Some(_)) => Kind::Instant(match unit {
            TimeUnit::Second => 1,
            TimeUnit::Millisecond => 1_000,
            TimeUnit::Microsecond => 1_000_000,
            TimeUnit::Nanosecond => 1_000_000_000,
        }),
        DataType::Boolean => Kind::Flag,
        found if found.is_integer() => Kind::Number,
        _ => return None,
    })
}
