//! The parameters of a plan: those of an export, and how large its parts should be.

use super::filter::{DATA_PREFIX, FILTERS, is_filter};
use super::parameters::{PARAMETERS, pairs, quoted};
use super::{ExportRequest, WebsiteId};
use crate::error::{Error, Result};

/// Rows of a part, unless the request says otherwise.
pub const DEFAULT_PART_ROWS: u64 = 1_000_000;

/// The name of the parameter that a plan has besides.
pub(crate) const PART_ROWS: &str = "part_rows";

/// The parameters of an export that a plan has not.
const LIMIT: &str = "limit";
const SINCE: &str = super::since::SINCE;

/// What to plan: validated, with the window's instants computed. Any number of days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRequest {
    /// What would be exported.
    pub export: ExportRequest,
    /// Rows of a part, about. [`DEFAULT_PART_ROWS`]
    pub part_rows: u64,
}

impl PlanRequest {
    /// Validates the query of a URL, still percent-encoded, without its `?`. A window of centuries takes 0.2 s.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`](crate::error::ErrorKind::Validation) naming the parameter.
    pub fn from_query(website: WebsiteId, query: &str) -> Result<Self> {
        Self::from_pairs(website, pairs(query)?)
    }

    /// Validates names and values.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`](crate::error::ErrorKind::Validation) naming the parameter.
    pub fn from_pairs(
        website: WebsiteId,
        pairs: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        let (own, others): (Vec<_>, Vec<_>) =
            pairs.into_iter().partition(|(name, _)| name == PART_ROWS);
        let is_known = |name: &str| PARAMETERS.contains(&name) || is_filter(name);
        if let Some((name, _)) = others.iter().find(|(name, _)| !is_known(name)) {
            let name = quoted(name);
            let names: Vec<_> = PARAMETERS
                .into_iter()
                .filter(|name| ![LIMIT, SINCE].contains(name))
                .collect();
            return Err(Error::validation(
                name.clone(),
                format!(
                    "there is no parameter `{name}`: use {}, {PART_ROWS}, {}, {DATA_PREFIX}KEY",
                    names.join(", "),
                    FILTERS.join(", ")
                ),
            ));
        }
        let part_rows = match &own[..] {
            [] => DEFAULT_PART_ROWS,
            [(_, value)] => rows(value)?,
            _ => {
                return Err(Error::validation(
                    PART_ROWS,
                    format!("{PART_ROWS} is given more than once: give it once"),
                ));
            }
        };
        let export = ExportRequest::within(website, others, None)?;
        if export.limit.is_some() {
            return Err(Error::validation(
                LIMIT,
                "limit is for an export: a plan is of all rows, and its parts have as many as part_rows says, so leave it out",
            ));
        }
        Ok(Self { export, part_rows })
    }
}

fn rows(value: &str) -> Result<u64> {
    let digits = value.bytes().all(|b| b.is_ascii_digit());
    let rows = value.parse().ok().filter(|&rows: &u64| digits && rows > 0);
    rows.ok_or_else(|| {
        Error::validation(
            PART_ROWS,
            format!(
                "{PART_ROWS} `{}` is no number of rows: give one from 1 up",
                quoted(value)
            ),
        )
    })
}
