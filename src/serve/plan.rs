//! `GET /api/websites/{id}/export/plan`: what an export would be, and the parts that it can be had in.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::body::Body;
use super::{Service, handler, metrics, respond};
use crate::cursor::Counted;
use crate::error::{Error, ErrorKind, Result};
use crate::export::ExportId;
use crate::plan::{self, Part, Plan, Planner};
use crate::pushdown::{Fence, Range};
use crate::request::{
    ExportRequest, Interval, PART_ROWS, PlanRequest, WebsiteId, instant_text, quoted,
};

/// Answers in the order of an export's request: key, parameters, the key's websites, the website, a place.
pub(super) async fn plan(
    service: &Arc<Service>,
    request: &Request<Incoming>,
    website: WebsiteId,
    id: &ExportId,
) -> Result<Response<Body>> {
    let begun = std::time::Instant::now();
    let key = service.authenticate(request).await?;
    let query = request.uri().query().unwrap_or("").to_owned();
    let max_uri_bytes = service.config.max_uri_bytes;
    // The zone's changes over centuries take a while.
    let wanted = apart(move || {
        let wanted = PlanRequest::from_query(website, &query)?;
        let longest = longest_url(&wanted.export, max_uri_bytes)?;
        let stretches = plan::stretches(&wanted.export.window);
        Ok((wanted, longest, stretches))
    });
    let (wanted, longest, stretches) = wanted.await?;
    handler::authorize(&key, &wanted.export)?;
    let (compression, settle) = (service.config.wire_compression, service.config.settle);
    let fence = || {
        let website = &wanted.export.website;
        service.catalog.fence(website, compression, settle)
    };
    fence().await?;
    if request.method() == Method::HEAD {
        return Ok(respond::json(""));
    }
    let place = service.admission.enter(&key.id, Duration::ZERO).await?;
    // It may have waited for its place.
    let fence = fence().await?;
    let export = Arc::new(wanted.export.clone());
    let (limit, query_id) = (service.config.plan, format!("{id}-plan"));
    let counted = service.server.tally(
        &export,
        plan::edges(&stretches),
        fence,
        limit,
        &query_id,
        || Planner::new(&stretches, wanted.part_rows),
    );
    let counted = counted.await.map_err(|error| match error.kind() {
        ErrorKind::QueryTimeout if limit <= service.config.silence => Error::new(
            ErrorKind::QueryTimeout,
            format!(
                "the rows were not counted within {} s: ask for less time, or raise plan_seconds",
                limit.as_secs()
            ),
        )
        .with_source(error),
        _ => error,
    })?;
    let Counted {
        tally: planner,
        kept,
        told_apart,
    } = counted;
    let plan = planner.finish()?;
    if plan.parts.len() * longest > MAX_URLS_BYTES {
        return Err(Error::validation(
            PART_ROWS,
            format!(
                "the URLs of {} parts have more than {MAX_URLS_BYTES} bytes: raise {PART_ROWS}, or ask for less time",
                plan.parts.len()
            ),
        ));
    }
    metrics::planned(kept, begun.elapsed());
    tracing::info!(
        export = %id, key = key.id, website = %wanted.export.website, rows = plan.rows, parts = plan.parts.len(), kept, told_apart,
        "a plan was made"
    );
    let json = apart(move || {
        let answer = Answer::of(&wanted, &plan, fence, told_apart);
        serde_json::to_vec(&answer)
            .map_err(|error| Error::internal("the plan cannot be written").with_source(error))
    });
    // As long as it takes to send: so many plans are held at once as exports may run.
    let response = respond::json(json.await?);
    Ok(response.map(|body| body.occupying(place, service.config.stall)))
}

/// Most bytes of all parts' URLs: filters, which stand in each, may have kilobytes.
const MAX_URLS_BYTES: usize = 8 << 20;

/// Bytes of the longest URL that a part may have.
///
/// # Errors
///
/// [`ErrorKind::Validation`] naming the longest parameter, where the part could not be asked for by it.
fn longest_url(export: &ExportRequest, max_uri_bytes: usize) -> Result<usize> {
    // Only the instants differ, and only at the window's ends these may have fractions of a second.
    let url = url(export, Range::whole(&export.window).interval);
    check_length(&url, max_uri_bytes, "of a part")?;
    Ok(url.len())
}

/// Fails where a URL that the service gives would be refused by itself, naming its longest parameter.
pub(super) fn check_length(url: &str, max_uri_bytes: usize, which: &str) -> Result<()> {
    if url.len() <= max_uri_bytes {
        return Ok(());
    }
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let parameter = query.split('&').max_by_key(|parameter| parameter.len());
    let name = parameter.unwrap_or("").split('=').next().unwrap_or("");
    let name = quoted(&percent_decode_str(name).decode_utf8_lossy());
    Err(Error::validation(
        name.clone(),
        format!(
            "the URL {which} would be longer than {max_uri_bytes} bytes: shorten {name}, or leave it out"
        ),
    ))
}

/// Path and query of a part's export.
fn url(export: &ExportRequest, part: Interval) -> String {
    format!(
        "/api/websites/{}/export?{}",
        export.website,
        export.query_of(part)
    )
}

/// Does what takes longer than an async thread may be held.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("the planning stopped").with_source(error))?
}

/// The plan as it is answered.
#[derive(Serialize)]
pub(super) struct Answer {
    website: String,
    format: &'static str,
    timezone: &'static str,
    /// When rows were counted, by ClickHouse's clock: those that came up to then are, and those that came since may be.
    as_of: String,
    rows: u64,
    bytes_estimate: u64,
    part_rows: u64,
    days: Vec<DayAnswer>,
    parts: Vec<PartAnswer>,
}

#[derive(Serialize)]
struct DayAnswer {
    day: String,
    rows: u64,
    /// Of all rows, 0 to 1.
    share: f64,
}

#[derive(Serialize)]
struct PartAnswer {
    day: String,
    from: String,
    to: String,
    rows: u64,
    bytes_estimate: u64,
    /// Path and query, behind the service's own address.
    url: String,
    etag: Option<String>,
}

impl Answer {
    fn of(wanted: &PlanRequest, plan: &Plan, fence: Fence, told_apart: bool) -> Self {
        let export = &wanted.export;
        let settled = Some(fence.settled());
        let is_tagged = |part: &Part| told_apart && part.newest <= settled;
        let estimate = |rows, bytes| plan::estimate(export, rows, bytes);
        let part = |part: &Part| PartAnswer {
            day: part.day.to_string(),
            from: instant_text(part.interval.from),
            to: instant_text(part.interval.until),
            rows: part.digest.rows,
            bytes_estimate: estimate(part.digest.rows, part.bytes),
            url: url(export, part.interval),
            etag: is_tagged(part).then(|| plan::etag(export, part.interval, part.digest)),
        };
        let day = |(day, rows): (chrono::NaiveDate, u64)| DayAnswer {
            day: day.to_string(),
            rows,
            share: if plan.rows == 0 {
                0.0
            } else {
                rows as f64 / plan.rows as f64
            },
        };
        Self {
            website: export.website.to_string(),
            format: export.format.as_str(),
            timezone: export.window.zone.name(),
            as_of: instant_text(fence.now()),
            rows: plan.rows,
            bytes_estimate: estimate(plan.rows, plan.bytes),
            part_rows: wanted.part_rows,
            days: plan.days().into_iter().map(day).collect(),
            parts: plan.parts.iter().map(part).collect(),
        }
    }
}
