//! The plan as the service answers it, and whether it can be one.

use serde::Deserialize;

use super::attempts::{Attempt, Failure};
use super::client::Client;
use crate::error::{Error, Result};
use crate::receipt::Moment;
use crate::request::{ExportRequest, Interval, PART_ROWS, PlanRequest, instant_text};

/// Most bytes of a plan: the URLs of its parts have 8 MiB at most, and the rest of 150,000 parts and days has less than this.
const MAX_PLAN_BYTES: usize = 64 << 20;

/// The plan of an export.
#[derive(Debug, Deserialize)]
pub(super) struct Planned {
    website: String,
    format: String,
    timezone: String,
    /// When rows were counted, by ClickHouse's clock.
    pub(super) as_of: String,
    pub(super) rows: u64,
    pub(super) bytes_estimate: u64,
    /// In order of time, without a gap.
    pub(super) parts: Vec<PlannedPart>,
}

/// A part of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PlannedPart {
    /// The day that it lies in, `YYYY-MM-DD`.
    pub(super) day: String,
    pub(super) from: Moment,
    pub(super) to: Moment,
    pub(super) rows: u64,
    pub(super) bytes_estimate: u64,
    /// Path and query.
    pub(super) url: String,
    /// Absent where rows are fresh, or cannot be told from others.
    pub(super) etag: Option<String>,
}

/// Asks for the plan of a request.
///
/// # Errors
///
/// Those of the client, and a plan that is not the request's.
pub(super) async fn ask(client: &Client, wanted: &PlanRequest) -> Attempt<Planned> {
    let target = format!(
        "/api/websites/{}/export/plan?{}&{PART_ROWS}={}",
        wanted.export.website,
        query(&wanted.export),
        wanted.part_rows
    );
    let body = client.get(&target).await?.whole(MAX_PLAN_BYTES).await?;
    let planned = tokio::task::block_in_place(|| serde_json::from_slice::<Planned>(&body));
    // What it says of the text may repeat that.
    let planned = planned.map_err(|error| {
        not_a_plan("cannot be read").with_detail(client.plain(&error.to_string()))
    });
    let planned = planned.map_err(Failure::last)?;
    check(&planned, &wanted.export).map_err(Failure::last)?;
    Ok(planned)
}

/// The query of the request with its own window.
fn query(export: &ExportRequest) -> String {
    let window = &export.window;
    let ends = match window.instants {
        Some(Interval { from, until }) => {
            format!("from={}&to={}", instant_text(from), instant_text(until))
        }
        None => format!("start_date={}&end_date={}", window.start, window.end),
    };
    format!("{ends}&{}", options(export))
}

/// What a request asks for besides its window, defaults left out but the format: one text for one request.
pub(super) fn options(export: &ExportRequest) -> String {
    let any = Interval { from: 0, until: 0 };
    let query = export.query_of(any);
    // It begins with the two ends.
    query.splitn(3, '&').nth(2).unwrap_or_default().to_owned()
}

fn not_a_plan(why: &str) -> Error {
    Error::internal(format!(
        "the service's plan {why}: is it another version of Rowspout?"
    ))
}

/// A plan that leaves rows out, or has them twice, must not become a directory.
fn check(planned: &Planned, wanted: &ExportRequest) -> Result<()> {
    if planned.website != wanted.website.as_str()
        || planned.format != wanted.format.as_str()
        || planned.timezone != wanted.window.zone.name()
    {
        return Err(not_a_plan("is that of another request"));
    }
    let path = format!("/api/websites/{}/export?", wanted.website);
    let (mut rows, mut bytes) = (0_u64, 0_u64);
    let sum = |sum: u64, more| {
        let beyond = || not_a_plan("has more than there can be");
        sum.checked_add(more).ok_or_else(beyond)
    };
    let mut covered: Vec<Interval> = Vec::new();
    for part in &planned.parts {
        if !part.url.starts_with(&path) {
            return Err(not_a_plan("leads to other paths than exports"));
        }
        let day = part.day.parse::<chrono::NaiveDate>();
        if day.is_err() || day.is_ok_and(|day| day.to_string() != part.day) {
            return Err(not_a_plan("has days that are none"));
        }
        let (from, until) = (part.from.0, part.to.0);
        if from >= until || covered.last().is_some_and(|last| last.until > from) {
            return Err(not_a_plan("has parts that overlap"));
        }
        match covered.last_mut() {
            Some(last) if last.until == from => last.until = until,
            _ => covered.push(Interval { from, until }),
        }
        rows = sum(rows, part.rows)?;
        bytes = sum(bytes, part.bytes_estimate)?;
    }
    if rows != planned.rows {
        return Err(not_a_plan("has other rows than its parts"));
    }
    if covered != wanted.window.intervals {
        return Err(not_a_plan(
            "covers another time than was asked for, perhaps by another version of the time zones",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test that cannot go on fails

    use serde_json::{Value, json};

    use super::*;
    use crate::request::WebsiteId;

    const QUERY: &str =
        "start_date=2026-03-01&end_date=2026-03-02&format=ndjson&timezone=Asia/Kolkata&country=DE";

    fn wanted() -> PlanRequest {
        PlanRequest::from_query(WebsiteId::parse("site_a").unwrap(), QUERY).unwrap()
    }

    fn plan() -> Value {
        let part = |day: &str, from: &str, to: &str, rows: u64| {
            json!({"day": day, "from": from, "to": to, "rows": rows, "bytes_estimate": 1, "etag": null,
                   "url": format!("/api/websites/site_a/export?from={from}&to={to}")})
        };
        json!({
            "website": "site_a", "format": "ndjson", "timezone": "Asia/Kolkata", "as_of": "2026-04-01T00:00:00Z",
            "rows": 3, "bytes_estimate": 2, "part_rows": 2, "days": [],
            "parts": [
                part("2026-03-01", "2026-02-28T18:30:00Z", "2026-03-01T18:30:00Z", 1),
                part("2026-03-02", "2026-03-01T18:30:00Z", "2026-03-02T18:30:00Z", 2),
            ],
        })
    }

    #[test]
    fn the_query_asks_for_the_request_and_the_options_do_not_know_its_window() {
        let export = wanted().export;
        assert_eq!(query(&export), QUERY);
        assert_eq!(
            options(&export),
            "format=ndjson&timezone=Asia/Kolkata&country=DE"
        );
    }

    #[test]
    fn a_plan_that_loses_or_doubles_rows_or_leads_elsewhere_is_none() {
        let changed = |change: &dyn Fn(&mut Value)| {
            let mut plan = plan();
            change(&mut plan);
            check(&serde_json::from_value(plan).unwrap(), &wanted().export)
        };
        changed(&|_| {}).unwrap();
        for change in [
            &(|plan: &mut Value| plan["website"] = json!("site_b")) as &dyn Fn(&mut Value),
            &|plan| plan["format"] = json!("csv"),
            &|plan| plan["timezone"] = json!("UTC"),
            &|plan| plan["rows"] = json!(4),
            &|plan| {
                plan["parts"].as_array_mut().unwrap().pop();
                plan["rows"] = json!(1);
            },
            &|plan| plan["parts"][1]["from"] = json!("2026-03-01T18:15:00Z"),
            &|plan| plan["parts"][1]["from"] = json!("2026-03-01T18:45:00Z"),
            &|plan| plan["parts"][1]["to"] = json!("2026-03-02T18:45:00Z"),
            &|plan| plan["parts"][0]["day"] = json!("../../etc/x"),
            &|plan| plan["parts"][0]["day"] = json!("2026-3-1"),
            &|plan| plan["parts"][0]["url"] = json!("http://elsewhere/api"),
            &|plan| plan["parts"][0]["url"] = json!("/api/websites/site_b/export?from="),
        ] {
            changed(change).unwrap_err();
        }
    }
}
