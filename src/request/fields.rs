//! Which columns a file has, and in which order.

use super::parameters::quoted;
use crate::error::{Error, Result};
use crate::pushdown::columns::{COLUMNS, TEXT_COLUMNS};

/// A column of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The instant.
    Timestamp,
    /// Page view or event.
    EventType,
    /// One of [`TEXT_COLUMNS`], by its place there.
    Text(usize),
}

impl Field {
    /// The column at a place among [`COLUMNS`].
    fn at(place: usize) -> Self {
        match place {
            0 => Self::Timestamp,
            1 => Self::EventType,
            place => Self::Text(place - 2),
        }
    }

    /// The column's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Timestamp => COLUMNS[0],
            Self::EventType => COLUMNS[1],
            Self::Text(place) => TEXT_COLUMNS[place],
        }
    }
}

/// The columns of a file, each at most once and at least one; all of them in their own order unless others were asked
/// for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields(Vec<Field>);

impl Default for Fields {
    fn default() -> Self {
        Self((0..COLUMNS.len()).map(Field::at).collect())
    }
}

impl Fields {
    /// The columns that are named, with commas between.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`](crate::error::ErrorKind::Validation) naming `fields`: a name is unknown, repeated or
    /// missing.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |message: String| Err(Error::validation("fields", message));
        let mut fields = Vec::new();
        for name in text.split(',') {
            let Some(place) = COLUMNS.iter().position(|column| *column == name) else {
                return refuse(format!(
                    "fields names `{}`, which is no column: use some of {}, with commas between",
                    quoted(name),
                    COLUMNS.join(",")
                ));
            };
            if fields.contains(&Field::at(place)) {
                return refuse(format!("fields names {name} more than once: name it once"));
            }
            fields.push(Field::at(place));
        }
        Ok(Self(fields))
    }

    /// The columns in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Field> + Clone {
        self.0.iter().copied()
    }

    /// Their names in their order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.iter().map(Field::name)
    }

    /// Whether a file has all columns in their own order.
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a column is among them.
    pub fn has(&self, field: Field) -> bool {
        self.0.contains(&field)
    }
}
