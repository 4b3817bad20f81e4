//! What Prometheus reads at `/metrics`.

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::cursor::REPLICA_FAILURES;
use crate::error::{Error, ErrorKind, Result};
use crate::request::Format;

const RUNNING: &str = "rowspout_exports_running";
const FINISHED: &str = "rowspout_exports_finished_total";
const ROWS: &str = "rowspout_rows_total";
const BYTES: &str = "rowspout_bytes_total";
const FIRST_BYTE: &str = "rowspout_first_byte_seconds";
const DURATION: &str = "rowspout_export_seconds";
const RESPONSES: &str = "rowspout_responses_total";
const QUEUED: &str = "rowspout_exports_queued";
const LENT: &str = "rowspout_exports_without_place";
const RESUMES: &str = "rowspout_resumes_total";
const KILLS: &str = "rowspout_kills_total";
const CLICKHOUSE_ERRORS: &str = "rowspout_clickhouse_errors_total";
const LIMITS: &str = "rowspout_limits_hit_total";
const FAILED_ATTEMPTS: &str = "rowspout_failed_attempts_total";
const PLANS: &str = "rowspout_plans_total";
const LATE_ROWS: &str = "rowspout_late_rows_total";
const PLAN_SECONDS: &str = "rowspout_plan_seconds";
const NOT_MODIFIED: &str = "rowspout_not_modified_total";
const LOG_FAILURES: &str = "rowspout_log_failures_total";

/// Upper bounds of the histograms, in seconds.
const SECONDS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0,
];

/// How an export ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Every byte was handed to the client.
    Complete,
    /// It failed after its first byte, and the connection was aborted.
    Aborted,
    /// The client went away.
    Left,
    /// It failed before its first byte, and the client got a status.
    Refused,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Complete, Self::Aborted, Self::Left, Self::Refused];

    fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Aborted => "aborted",
            Self::Left => "left",
            Self::Refused => "refused",
        }
    }
}

/// A limit that was hit, named as its setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Connections at once.
    Connections,
    /// Exports of one key at once.
    ExportsPerKey,
    /// Exports in the queue.
    Queued,
    /// Patience in the queue.
    QueueSeconds,
    /// Requests of one key.
    RequestsPerMinute,
    /// Attempts with unknown keys from one address.
    FailedAttempts,
    /// Length of a request's URI.
    UriBytes,
    /// Size of a request's header fields.
    HeaderBytes,
    /// Time for a request's head.
    HeadSeconds,
    /// Time without progress.
    StallSeconds,
    /// Time of a query.
    QuerySeconds,
}

impl Limit {
    const ALL: [Self; 11] = [
        Self::Connections,
        Self::ExportsPerKey,
        Self::Queued,
        Self::QueueSeconds,
        Self::RequestsPerMinute,
        Self::FailedAttempts,
        Self::UriBytes,
        Self::HeaderBytes,
        Self::HeadSeconds,
        Self::StallSeconds,
        Self::QuerySeconds,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "max_connections",
            Self::ExportsPerKey => "max_exports_per_key",
            Self::Queued => "max_queued",
            Self::QueueSeconds => "queue_seconds",
            Self::RequestsPerMinute => "requests_per_minute",
            Self::FailedAttempts => "failed_attempts_per_minute",
            Self::UriBytes => "max_uri_bytes",
            Self::HeaderBytes => "max_header_bytes",
            Self::HeadSeconds => "head_seconds",
            Self::StallSeconds => "stall_seconds",
            Self::QuerySeconds => "max_query_seconds",
        }
    }
}

/// Counts a limit that was hit.
pub(super) fn limit_hit(limit: Limit) {
    counter!(LIMITS, "limit" => limit.as_str()).increment(1);
}

/// Counts an export into the queue, or out of it.
pub(super) fn queued(by: f64) {
    gauge!(QUEUED).increment(by);
}

/// Counts an export that lent its place, or has none to take again.
pub(super) fn lent(by: f64) {
    gauge!(LENT).increment(by);
}

/// Counts readings that were taken up again.
pub(super) fn resumed(times: u32) {
    counter!(RESUMES).increment(times.into());
}

/// Counts an export whose queries were killed.
pub(super) fn killed() {
    counter!(KILLS).increment(1);
}

/// The code of errors that ClickHouse gave none for.
const UNREACHABLE: &str = "unreachable";

/// Counts an error that a client sees, if it is ClickHouse's.
pub(super) fn failed(error: &Error) {
    if error.kind() == ErrorKind::QueryTimeout {
        limit_hit(Limit::QuerySeconds);
    }
    match (error.clickhouse_code(), error.kind(), error.detail()) {
        (Some(code), ..) => {
            counter!(CLICKHOUSE_ERRORS, "code" => code.to_string()).increment(1);
        }
        // Where there are details it is ClickHouse's address that could not be reached, not a limit of ours.
        (None, ErrorKind::Unavailable, Some(_)) => {
            counter!(CLICKHOUSE_ERRORS, "code" => UNREACHABLE).increment(1);
        }
        _ => {}
    }
}

/// The process's metrics.
pub(super) struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Sets the recorder of this process. A second service in one process writes into the first one's recorder.
    pub(super) fn install() -> Result<Self> {
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
            .map_err(|error| Error::internal("the metrics cannot be set up").with_source(error))?
            .build_recorder();
        let handle = recorder.handle();
        // Where a recorder is set already, this handle just renders nothing of it.
        let _ = metrics::set_global_recorder(recorder);
        describe_gauge!(RUNNING, Unit::Count, "Exports that run now.");
        describe_counter!(
            FINISHED,
            Unit::Count,
            "Exports that ended, by format and outcome."
        );
        describe_counter!(ROWS, Unit::Count, "Rows written into files, by format.");
        describe_counter!(BYTES, Unit::Bytes, "Bytes handed to clients, by format.");
        describe_counter!(RESPONSES, Unit::Count, "Responses by status.");
        describe_gauge!(QUEUED, Unit::Count, "Exports that wait for a place.");
        describe_gauge!(
            LENT,
            Unit::Count,
            "Exports that run and lent their place, because they wait for their clients."
        );
        describe_counter!(
            RESUMES,
            Unit::Count,
            "Readings that were taken up again behind an export's last row."
        );
        describe_counter!(
            KILLS,
            Unit::Count,
            "Exports that ended before their proof, whose queries ClickHouse was told to kill."
        );
        describe_counter!(
            CLICKHOUSE_ERRORS,
            Unit::Count,
            "Errors of ClickHouse that clients saw, by its code; `unreachable` where it gave none."
        );
        describe_counter!(
            REPLICA_FAILURES,
            Unit::Count,
            "Failures of each replica of ClickHouse, after which it is left alone for a while, by its host and port."
        );
        describe_counter!(
            LIMITS,
            Unit::Count,
            "Refusals and aborts for a limit, by the setting that has it."
        );
        describe_counter!(
            FAILED_ATTEMPTS,
            Unit::Count,
            "Requests with a key that is not known, was revoked or has expired."
        );
        describe_counter!(
            LOG_FAILURES,
            Unit::Count,
            "States of exports that could not be written into export_log, each try counted."
        );
        describe_counter!(
            PLANS,
            Unit::Count,
            "Plans, by where their counts came from: `projection` or `scan`."
        );
        describe_histogram!(
            PLAN_SECONDS,
            Unit::Seconds,
            "Time from a plan's request to its last count, by where those came from."
        );
        describe_counter!(
            NOT_MODIFIED,
            Unit::Count,
            "Exports that the client had already, by their ETag: 304."
        );
        describe_counter!(
            LATE_ROWS,
            Unit::Count,
            "Rows that became visible later than `settle_seconds` allow for, so that exports by arrival have left them out."
        );
        describe_histogram!(
            FIRST_BYTE,
            Unit::Seconds,
            "Time from a request to its first chunk, by format."
        );
        describe_histogram!(
            DURATION,
            Unit::Seconds,
            "Time from a request to its last chunk, by format."
        );
        gauge!(RUNNING).set(0.0);
        gauge!(QUEUED).set(0.0);
        gauge!(LENT).set(0.0);
        // What has not happened yet is a nought, so that its first time is seen as an increase.
        for name in [
            RESUMES,
            KILLS,
            FAILED_ATTEMPTS,
            LOG_FAILURES,
            NOT_MODIFIED,
            LATE_ROWS,
        ] {
            counter!(name).increment(0);
        }
        for source in SOURCES {
            counter!(PLANS, "source" => source).increment(0);
            drop(histogram!(PLAN_SECONDS, "source" => source));
        }
        counter!(CLICKHOUSE_ERRORS, "code" => UNREACHABLE).increment(0);
        for limit in Limit::ALL {
            counter!(LIMITS, "limit" => limit.as_str()).increment(0);
        }
        for format in Format::ALL.map(Format::as_str) {
            for outcome in Outcome::ALL {
                counter!(FINISHED, "format" => format, "outcome" => outcome.as_str()).increment(0);
            }
            for name in [ROWS, BYTES] {
                counter!(name, "format" => format).increment(0);
            }
            for name in [FIRST_BYTE, DURATION] {
                drop(histogram!(name, "format" => format));
            }
        }
        Ok(Self { handle })
    }

    /// The text that Prometheus reads.
    pub(super) fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }
}

/// Counts a request with a key that opens nothing.
pub(super) fn attempt_failed() {
    counter!(FAILED_ATTEMPTS).increment(1);
}

/// Counts states of exports that could not be written into the log.
pub(super) fn log_failed(states: u64) {
    counter!(LOG_FAILURES).increment(states);
}

/// Counts a plan, and the time from its request to its end; `kept` says whether the projection was asked, and not the events.
pub(super) fn planned(kept: bool, took: std::time::Duration) {
    let source = SOURCES[usize::from(!kept)];
    counter!(PLANS, "source" => source).increment(1);
    histogram!(PLAN_SECONDS, "source" => source).record(took.as_secs_f64());
}

/// Where a plan's counts come from.
const SOURCES: [&str; 2] = ["projection", "scan"];

/// An export by arrival is complete, and so many rows were found to be in no earlier one.
pub(super) fn late(rows: u64) {
    counter!(LATE_ROWS).increment(rows);
}

/// Counts an export that the client had already.
pub(super) fn not_modified() {
    counter!(NOT_MODIFIED).increment(1);
}

/// Counts one response.
pub(super) fn responded(status: u16) {
    counter!(RESPONSES, "status" => status.to_string()).increment(1);
}

/// One export's measurements; its end is counted when it is dropped, as that of a client who left unless told otherwise.
pub(super) struct Measured {
    format: Format,
    begun: std::time::Instant,
    outcome: Outcome,
}

impl Measured {
    pub(super) fn begin(format: Format) -> Self {
        gauge!(RUNNING).increment(1.0);
        Self {
            format,
            begun: std::time::Instant::now(),
            outcome: Outcome::Left,
        }
    }

    pub(super) fn first_byte(&self) {
        histogram!(FIRST_BYTE, "format" => self.format.as_str())
            .record(self.begun.elapsed().as_secs_f64());
    }

    pub(super) fn chunk(&self, bytes: usize) {
        counter!(BYTES, "format" => self.format.as_str()).increment(bytes as u64);
    }

    pub(super) fn rows(&self, rows: u64) {
        counter!(ROWS, "format" => self.format.as_str()).increment(rows);
    }

    pub(super) fn end(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    pub(super) fn elapsed(&self) -> std::time::Duration {
        self.begun.elapsed()
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        gauge!(RUNNING).decrement(1.0);
        counter!(FINISHED, "format" => self.format.as_str(), "outcome" => self.outcome.as_str())
            .increment(1);
        histogram!(DURATION, "format" => self.format.as_str())
            .record(self.begun.elapsed().as_secs_f64());
    }
}
