//! What a pull has: its files, and the manifest that says so.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::disk;
use super::planned::options;
use crate::error::{Error, Result};
use crate::receipt::{Moment, hash};
use crate::request::ExportRequest;

/// The version of the manifest's form.
const VERSION: u32 = 1;

/// A file, or a part of a joined one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pulled {
    /// Where it lies, from the manifest's folder.
    pub(super) path: String,
    /// The day that its events are of, `YYYY-MM-DD`, where they are of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) day: Option<String>,
    /// Its first instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<Moment>,
    /// The first instant that is outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Moment>,
    pub(super) rows: u64,
    pub(super) bytes: u64,
    /// 64 lower-case hexadecimal digits.
    pub(super) sha256: String,
    /// What the service told its rows from others by; absent where it could not.
    pub(super) etag: Option<String>,
    /// The export that it came from; absent where it was joined from several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) export_id: Option<String>,
    /// When it came, by this machine's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) fetched: Option<Moment>,
}

impl Pulled {
    /// Whether the file in `folder` is this one: by its size, or with `verify` by its hash. A file that is not there is not.
    pub(super) fn is_at(&self, path: &Path, verify: bool) -> Result<bool> {
        let there = path
            .symlink_metadata()
            .is_ok_and(|found| found.is_file() && found.len() == self.bytes);
        Ok(there && (!verify || hash(path)?.1 == self.sha256))
    }
}

/// What may not differ between pulls into one place: whose events, and how they are chosen and written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) website: String,
    pub(super) format: String,
    pub(super) timezone: String,
    /// All of it but the window, as the query of a URL.
    pub(super) query: String,
}

impl Request {
    pub(super) fn of(export: &ExportRequest) -> Self {
        Self {
            website: export.website.to_string(),
            format: export.format.to_string(),
            timezone: export.window.zone.name().to_owned(),
            query: options(export),
        }
    }

    /// Refuses a place that holds another one's files.
    ///
    /// # Errors
    ///
    /// It does.
    pub(super) fn same_as(&self, there: &Self, place: &Path) -> Result<()> {
        if self == there {
            return Ok(());
        }
        Err(Error::usage(format!(
            "{} holds another request's files ({}, {}), and this one is {}, {}: name another place with -o, or ask for the same",
            place.display(),
            there.website,
            there.query,
            self.website,
            self.query
        )))
    }
}

/// The time that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    /// The first day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) start_date: Option<String>,
    /// The last day, included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) end_date: Option<String>,
    /// The first instant, where no days were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<Moment>,
    /// The first instant that is outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<Moment>,
}

impl Asked {
    pub(super) fn of(export: &ExportRequest) -> Self {
        let window = &export.window;
        match window.instants {
            Some(instants) => Self {
                from: Some(Moment(instants.from)),
                to: Some(Moment(instants.until)),
                ..Self::default()
            },
            None => Self {
                start_date: Some(window.start.to_string()),
                end_date: Some(window.end.to_string()),
                ..Self::default()
            },
        }
    }
}

/// What is there when a pull is complete. Gone as long as one changes what it speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) version: u32,
    /// The service's address.
    pub(super) service: String,
    pub(super) request: Request,
    /// What the last pull asked for; files of other days are from earlier ones.
    pub(super) window: Asked,
    /// When the service counted its rows, by ClickHouse's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) as_of: Option<String>,
    /// Of a chain of exports by arrival, the watermark that the next one begins at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next_since: Option<String>,
    /// Of such a chain, rows that are in none of its files, as they became visible too late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) late_rows: Option<u64>,
    /// Of all files.
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) files: Vec<Pulled>,
    /// Of one joined file what it was joined from; their bytes are those before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) parts: Vec<Pulled>,
}

impl Manifest {
    pub(super) fn of(
        service: &str,
        request: Request,
        window: Asked,
        as_of: Option<String>,
        files: Vec<Pulled>,
        parts: Vec<Pulled>,
    ) -> Self {
        Self {
            version: VERSION,
            service: service.to_owned(),
            request,
            window,
            as_of,
            next_since: None,
            late_rows: None,
            rows: sum(files.iter().map(|file| file.rows)),
            bytes: sum(files.iter().map(|file| file.bytes)),
            files,
            parts,
        }
    }

    /// The manifest at `path`, if there is one.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is none of this version.
    pub(super) fn read(path: &Path) -> Result<Option<Self>> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(path).with_source(error)),
        };
        let manifest: Self =
            serde_json::from_slice(&text).map_err(|error| unreadable(path).with_source(error))?;
        if manifest.version != VERSION {
            return Err(unreadable(path));
        }
        Ok(Some(manifest))
    }

    /// Puts it there, whole or not at all.
    ///
    /// # Errors
    ///
    /// The disk takes no more.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let mut json = serde_json::to_vec_pretty(self).map_err(|error| {
            Error::internal("the manifest cannot be written").with_source(error)
        })?;
        json.push(b'\n');
        disk::replace(path, &json)
    }
}

/// The sum of what stands in files that anybody may have altered.
fn sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

fn unreadable(path: &Path) -> Error {
    Error::usage(format!(
        "{} is no manifest that this version of rowspout pull wrote: name another place with -o",
        path.display()
    ))
}
