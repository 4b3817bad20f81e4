//! Filters: which values of a column, or of a key of `event_data`, an event must have or must not have.

use super::parameters::quoted;
use crate::error::{Error, Result};

/// The columns that can be filtered by, each a parameter of its own name.
pub const FILTERS: [&str; 14] = [
    "event_name",
    "url",
    "referrer",
    "country",
    "region",
    "city",
    "browser",
    "os",
    "device",
    "utm_source",
    "utm_medium",
    "utm_campaign",
    "session_id",
    "visitor_id",
];

/// What the name of a filter by a key of `event_data` begins with; the rest is the key, whatever it holds.
pub const DATA_PREFIX: &str = "data.";

/// The only column whose values may be given by their beginning.
pub(super) const WITH_PREFIXES: &str = "url";

/// Most values of all filters of one export.
pub const MAX_FILTER_VALUES: usize = 100;

/// Longest value, and longest key of `event_data`, in bytes.
pub const MAX_FILTER_BYTES: usize = 4_096;

/// What a filter looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// A column of text.
    Column(&'static str),
    /// The member of this name of the object that `event_data` is.
    Data(String),
}

/// A value that a filter looks for. The empty one is that of events that have none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    Exact(String),
    /// Its beginning.
    Prefix(String),
}

/// All that is wanted of one column or key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Of what.
    pub by: By,
    /// An event has any of these, unless there are none.
    pub any_of: Vec<Wanted>,
    /// An event has none of these.
    pub none_of: Vec<Wanted>,
}

impl Filter {
    /// The parameter's name.
    pub fn name(&self) -> String {
        match &self.by {
            By::Column(column) => (*column).to_owned(),
            By::Data(key) => format!("{DATA_PREFIX}{key}"),
        }
    }
}

/// Whether a parameter of this name is a filter.
pub(super) fn is_filter(name: &str) -> bool {
    FILTERS.contains(&name) || name.starts_with(DATA_PREFIX)
}

/// Adds a filter's value as it stands in the parameter.
///
/// # Errors
///
/// [`ErrorKind::Validation`](crate::error::ErrorKind::Validation) naming the parameter: a key is missing, a backslash
/// escapes nothing, or there are more or longer values than [`MAX_FILTER_VALUES`] and [`MAX_FILTER_BYTES`].
pub(super) fn add(filters: &mut Vec<Filter>, name: &str, value: &str) -> Result<()> {
    let said = quoted(name);
    let refuse = |message: String| Err(Error::validation(said.clone(), message));
    let by = match FILTERS.iter().find(|column| **column == name) {
        Some(column) => By::Column(column),
        None => By::Data(name.strip_prefix(DATA_PREFIX).unwrap_or(name).to_owned()),
    };
    if by == By::Data(String::new()) {
        return refuse(format!(
            "{DATA_PREFIX} names no key of event_data: write it as {DATA_PREFIX}plan=pro"
        ));
    }
    if value.len().max(name.len()) > MAX_FILTER_BYTES {
        return refuse(format!(
            "{said} has a name or value of more than {MAX_FILTER_BYTES} bytes: give a shorter one"
        ));
    }
    let values = filters
        .iter()
        .map(|filter| filter.any_of.len() + filter.none_of.len());
    if values.sum::<usize>() >= MAX_FILTER_VALUES {
        return refuse(format!(
            "there are more than {MAX_FILTER_VALUES} values in filters: export them in several requests"
        ));
    }
    let (excludes, text) = match value.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let wanted = match wanted(text, by == By::Column(WITH_PREFIXES)) {
        Some(wanted) => wanted,
        None => {
            return refuse(format!(
                "{said} has a backslash in front of something else than !, * or a backslash: write a backslash that is meant \
                 itself twice"
            ));
        }
    };
    let place = filters.iter().position(|filter| filter.by == by);
    let place = place.unwrap_or_else(|| {
        filters.push(Filter {
            by,
            any_of: Vec::new(),
            none_of: Vec::new(),
        });
        filters.len() - 1
    });
    let filter = &mut filters[place];
    if excludes {
        filter.none_of.push(wanted);
    } else {
        filter.any_of.push(wanted);
    }
    Ok(())
}

/// A value behind its exclamation mark, or `None` where a backslash escapes nothing.
fn wanted(text: &str, may_be_prefix: bool) -> Option<Wanted> {
    let mut value = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        match character {
            '\\' => value.push(rest.next().filter(|next| "!*\\".contains(*next))?),
            '*' if may_be_prefix && rest.as_str().is_empty() => {
                return Some(Wanted::Prefix(value));
            }
            other => value.push(other),
        }
    }
    Some(Wanted::Exact(value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use super::*;

    fn one(name: &str, value: &str) -> Result<Filter> {
        let mut filters = Vec::new();
        add(&mut filters, name, value)?;
        Ok(filters.remove(0))
    }

    #[test]
    fn a_value_is_taken_as_it_is_but_for_its_marks() {
        let exact = |text: &str| Wanted::Exact(text.to_owned());
        let prefix = |text: &str| Wanted::Prefix(text.to_owned());
        for (name, value, excludes, expected) in [
            ("country", "DE", false, exact("DE")),
            ("country", "", false, exact("")),
            ("country", "!", true, exact("")),
            ("country", "!DE", true, exact("DE")),
            ("country", "!!DE", true, exact("!DE")),
            ("country", "\\!DE", false, exact("!DE")),
            ("country", "D!", false, exact("D!")),
            ("city", "a,b;c", false, exact("a,b;c")),
            ("city", "a*", false, exact("a*")),
            ("city", "a\\*\\\\", false, exact("a*\\")),
            ("url", "/a*", false, prefix("/a")),
            ("url", "!/a*", true, prefix("/a")),
            ("url", "*", false, prefix("")),
            ("url", "/a\\*", false, exact("/a*")),
            ("url", "/a\\\\*", false, prefix("/a\\")),
            ("url", "/*/b", false, exact("/*/b")),
            ("url", "/a**", false, prefix("/a*")),
            ("data.url", "/a*", false, exact("/a*")),
            ("data.a.b", "ü", false, exact("ü")),
        ] {
            let filter = one(name, value).unwrap();
            let (some, none) = if excludes {
                (&filter.none_of, &filter.any_of)
            } else {
                (&filter.any_of, &filter.none_of)
            };
            assert_eq!(some, &[expected], "{name}={value}");
            assert!(none.is_empty(), "{name}={value}");
            assert_eq!(filter.name(), name);
        }
    }

    #[test]
    fn what_could_mean_something_else_and_what_is_too_much_is_refused_by_name() {
        let long = "a".repeat(MAX_FILTER_BYTES + 1);
        for (name, value, says) in [
            ("country", "\\", "backslash"),
            ("country", "C:\\new", "backslash"),
            ("url", "/a\\", "backslash"),
            ("data.", "a", "no key"),
            ("city", long.as_str(), "4096 bytes"),
        ] {
            let error = one(name, value).unwrap_err();
            assert_eq!(error.field(), Some(name));
            assert!(error.message().contains(says), "{error}");
        }
        assert!(one("city", &long[1..]).is_ok());
        let mut filters = Vec::new();
        for value in 0..MAX_FILTER_VALUES {
            let name = ["city", "country", "data.a"][value % 3];
            add(&mut filters, name, &value.to_string()).unwrap();
        }
        assert_eq!(filters.len(), 3);
        assert!(add(&mut filters, "os", "x").is_err());
    }
}
