//! One JSON object to one row.
//!
//! `event_data` is kept as its text stands in the file, quotation marks of a JSON string included: so the next
//! export writes the same bytes. Everything else is a string or null, as an export writes it, and `is_bot` a boolean too.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::load::batch::Batch;
use crate::load::column::Column;
use crate::load::value;
use crate::pushdown::columns::{EVENT_DATA, TEXT_COLUMNS};

/// The values of one object. What is `None` was not there.
#[derive(Debug)]
pub(super) struct Row<'a> {
    timestamp: i64,
    event_type: Option<u8>,
    is_bot: Option<bool>,
    texts: [Option<Cow<'a, str>>; TEXT_COLUMNS.len()],
}

/// What is wrong with an object, and where.
#[derive(Debug)]
pub(super) struct RowError {
    pub(super) message: String,
    /// Line in the text, from 1.
    pub(super) line: u64,
    pub(super) column: Option<Column>,
}

impl<'a> Row<'a> {
    /// Reads one object and nothing behind it.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, RowError> {
        let current = Cell::new(None);
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        RowSeed { current: &current }
            .deserialize(&mut deserializer)
            .and_then(|row| deserializer.end().map(|()| row))
            .map_err(|error| row_error(&error, current.get()))
    }

    /// Adds the row to a batch that has all columns, with defaults.
    pub(super) fn push(&self, batch: &mut Batch) {
        batch.begin_row();
        batch.push_timestamp(self.timestamp);
        match self.event_type {
            Some(byte) => batch.push_byte(byte),
            None => batch.push_default(),
        }
        for text in &self.texts {
            match text {
                Some(text) => batch.push_text(text.as_bytes()),
                None => batch.push_default(),
            }
        }
        match self.is_bot {
            Some(flag) => batch.push_byte(flag.into()),
            None => batch.push_default(),
        }
    }
}

fn row_error(error: &serde_json::Error, column: Option<Column>) -> RowError {
    let text = error.to_string();
    // The library ends its messages with a line and column of the text that it was given.
    let message = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(message, _)| message);
    let at = format!("at character {} of the line", error.column());
    let message = match error.classify() {
        serde_json::error::Category::Data => message.to_owned(),
        _ => format!("this is not a JSON object: {message} {at}"),
    };
    RowError {
        message,
        line: error.line() as u64,
        column,
    }
}

/// Reads an object, and notes the column that it is at.
struct RowSeed<'c> {
    current: &'c Cell<Option<Column>>,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = Row<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Row<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = Row<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, which is one event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row<'de>, A::Error> {
        let mut timestamp = None;
        let mut event_type = None;
        let mut is_bot = None;
        let mut texts = [const { None }; TEXT_COLUMNS.len()];
        let mut seen = [false; Column::COUNT];
        while let Some(column) = map.next_key_seed(Key)? {
            if std::mem::replace(&mut seen[column.place()], true) {
                return Err(A::Error::custom(format_args!(
                    "the column {} stands there twice: leave one out",
                    column.name()
                )));
            }
            self.current.set(Some(column));
            match column {
                Column::Timestamp => timestamp = Some(map.next_value_seed(TimestampValue)?),
                Column::EventType => event_type = Some(map.next_value_seed(EventTypeValue)?),
                Column::IsBot => is_bot = Some(map.next_value_seed(IsBotValue)?),
                Column::Text(EVENT_DATA) => {
                    let raw = map.next_value::<Option<&'de RawValue>>()?;
                    texts[EVENT_DATA] = Some(Cow::Borrowed(raw.map_or("", RawValue::get)));
                }
                Column::Text(place) => texts[place] = Some(map.next_value_seed(TextValue)?),
            }
            self.current.set(None);
        }
        self.current.set(Some(Column::Timestamp));
        let timestamp =
            timestamp.ok_or_else(|| A::Error::custom("it is missing: every event needs one"))?;
        self.current.set(None);
        Ok(Row {
            timestamp,
            event_type,
            is_bot,
            texts,
        })
    }
}

/// A visitor that is its own seed.
macro_rules! seed {
    ($name:ident, $value:ty, $method:ident) => {
        impl<'de> DeserializeSeed<'de> for $name {
            type Value = $value;

            fn deserialize<D: Deserializer<'de>>(
                self,
                deserializer: D,
            ) -> Result<$value, D::Error> {
                deserializer.$method(self)
            }
        }
    };
}

/// The name of a column.
struct Key;
seed!(Key, Column, deserialize_str);

impl Visitor<'_> for Key {
    type Value = Column;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a column's name")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Column, E> {
        Column::from_name(name).map_err(E::custom)
    }
}

/// A string or null.
struct TextValue;
seed!(TextValue, Cow<'de, str>, deserialize_any);

impl<'de> Visitor<'de> for TextValue {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or null: put it in quotation marks")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }
}

/// A time as a string.
struct TimestampValue;
seed!(TimestampValue, i64, deserialize_any);

impl Visitor<'_> for TimestampValue {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string such as \"2026-03-03T10:15:00Z\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<i64, E> {
        value::timestamp(text.as_bytes()).map_err(E::custom)
    }
}

/// `pageview` or `event` as a string.
struct EventTypeValue;
seed!(EventTypeValue, u8, deserialize_any);

impl Visitor<'_> for EventTypeValue {
    type Value = u8;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"pageview\" or \"event\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<u8, E> {
        value::event_type(text.as_bytes()).map_err(E::custom)
    }
}

/// A boolean, 0 or 1, or one of these as a string.
struct IsBotValue;
seed!(IsBotValue, bool, deserialize_any);

impl Visitor<'_> for IsBotValue {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false, 0 or 1")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<bool, E> {
        Ok(flag)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<bool, E> {
        match number {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(E::custom("it is none of true, false, 0 and 1")),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<bool, E> {
        value::is_bot(text.as_bytes()).map_err(E::custom)
    }
}
