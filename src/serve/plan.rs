//! `GET /api/websites/{id}/export/plan`: what an export would be, and the parts that it can be had in.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use serde::Serialize;

use super::body::Body;
use super::{Service, handler, metrics, respond};
use crate::error::{Error, ErrorKind, Result};
use crate::export::ExportId;
use crate::plan::{self, Part, Plan, Planner};
use crate::pushdown::Fence;
use crate::request::{PART_ROWS, PlanRequest, WebsiteId, instant_text};

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
    // The zone's changes over centuries take a while.
    let wanted = apart(move || {
        let wanted = PlanRequest::from_query(website, &query)?;
        let stretches = plan::stretches(&wanted.export.window);
        Ok((wanted, stretches))
    });
    let (wanted, stretches) = wanted.await?;
    handler::authorize(&key, &wanted.export)?;
    let compression = service.config.wire_compression;
    let catalog = &service.catalog;
    let fence = catalog.fence(&wanted.export.website, compression).await?;
    if request.method() == Method::HEAD {
        return Ok(respond::json(""));
    }
    let _place = service.admission.enter(&key.id).await?;
    let (limit, query_id) = (service.config.plan, format!("{id}-plan"));
    let counted = service.server.tally(
        &wanted.export,
        plan::edges(&stretches),
        fence,
        limit,
        &query_id,
        || Planner::new(&stretches, wanted.part_rows),
    );
    let (planner, tagged) = counted.await.map_err(|error| match error.kind() {
        ErrorKind::QueryTimeout => Error::new(
            ErrorKind::QueryTimeout,
            format!(
                "the rows were not counted within {} s: ask for less time, or raise plan_seconds",
                limit.as_secs()
            ),
        )
        .with_source(error),
        _ => error,
    })?;
    let plan = planner.finish()?;
    let urls = plan.parts.first().map_or(0, |part| {
        plan.parts.len() * wanted.export.query_of(part.interval).len()
    });
    if urls > MAX_URLS_BYTES {
        return Err(Error::validation(
            PART_ROWS,
            format!(
                "the URLs of {} parts have more than {MAX_URLS_BYTES} bytes: raise {PART_ROWS}, or ask for less time",
                plan.parts.len()
            ),
        ));
    }
    metrics::planned(tagged, begun.elapsed());
    tracing::info!(
        export = %id, key = key.id, website = %wanted.export.website, rows = plan.rows, parts = plan.parts.len(), tagged,
        "a plan was made"
    );
    let json = apart(move || {
        let answer = Answer::of(&wanted, &plan, fence, tagged);
        serde_json::to_vec(&answer)
            .map_err(|error| Error::internal("the plan cannot be written").with_source(error))
    });
    Ok(respond::json(json.await?))
}

/// Most bytes of all parts' URLs: filters, which stand in each, may have kilobytes.
const MAX_URLS_BYTES: usize = 64 << 20;

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
    /// Up to when rows that came are counted, by ClickHouse's clock.
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
    fn of(wanted: &PlanRequest, plan: &Plan, fence: Fence, tagged: bool) -> Self {
        let export = &wanted.export;
        let estimate = |rows, bytes| plan::estimate(export, rows, bytes);
        let part = |part: &Part| PartAnswer {
            day: part.day.to_string(),
            from: instant_text(part.interval.from),
            to: instant_text(part.interval.until),
            rows: part.digest.rows,
            bytes_estimate: estimate(part.digest.rows, part.bytes),
            url: format!(
                "/api/websites/{}/export?{}",
                export.website,
                export.query_of(part.interval)
            ),
            etag: tagged.then(|| plan::etag(export, part.interval, part.digest)),
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
