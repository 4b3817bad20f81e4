//! The columns that a file may have: the export's own and `is_bot`.

use crate::error::{Error, ErrorKind, Result};
use crate::pushdown::columns::TEXT_COLUMNS;

/// A column of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Timestamp,
    EventType,
    /// One of [`TEXT_COLUMNS`], by its place there.
    Text(usize),
    IsBot,
}

impl Column {
    /// How many there are.
    pub(super) const COUNT: usize = TEXT_COLUMNS.len() + 3;

    /// All of them.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        [Self::Timestamp, Self::EventType]
            .into_iter()
            .chain((0..TEXT_COLUMNS.len()).map(Self::Text))
            .chain([Self::IsBot])
    }

    /// Its name in files and in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Timestamp => "timestamp",
            Self::EventType => "event_type",
            Self::Text(place) => TEXT_COLUMNS[place],
            Self::IsBot => "is_bot",
        }
    }

    /// Its place among [`Column::all`].
    pub(super) fn place(self) -> usize {
        match self {
            Self::Timestamp => 0,
            Self::EventType => 1,
            Self::Text(place) => place + 2,
            Self::IsBot => Self::COUNT - 1,
        }
    }

    /// The column of that name.
    ///
    /// # Errors
    ///
    /// What is wrong with the name and what to do, as a part of a sentence.
    pub(super) fn from_name(name: &str) -> Result<Self, String> {
        Self::all()
            .find(|column| column.name() == name)
            .ok_or_else(|| match name {
                "website_id" => {
                    "the column website_id cannot be loaded, --site says whose the events are: \
                                 leave it out"
                        .to_owned()
                }
                "event_id" | "ingested_at" => {
                    format!("the column {name} is given by load itself: leave it out")
                }
                _ => {
                    let known: Vec<_> = Self::all().map(Self::name).collect();
                    format!(
                        "the column {:?} is not known: leave it out or rename it to one of {}",
                        shortened(name),
                        known.join(", ")
                    )
                }
            })
    }
}

/// At most 64 characters of a text that a file holds where something else should be.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}

/// The columns of a header.
///
/// # Errors
///
/// A name is not known or stands there twice, or there is no `timestamp`.
pub(super) fn header<'a>(names: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Column>> {
    let refused = |message: String| Error::new(ErrorKind::Data, message);
    let mut columns = Vec::with_capacity(Column::COUNT);
    for name in names {
        let column = Column::from_name(&String::from_utf8_lossy(name)).map_err(refused)?;
        if columns.contains(&column) {
            return Err(refused(format!(
                "the column {} stands there twice: leave one out",
                column.name()
            )));
        }
        columns.push(column);
    }
    if !columns.contains(&Column::Timestamp) {
        return Err(refused(
            "there is no column timestamp: every event needs one".to_owned(),
        ));
    }
    Ok(columns)
}
