//! One export from the moment it is let in until its last byte was taken: its figures, its measurements, its place among
//! those that run at once. However it ends, dropping this says so, once and to everyone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

use super::Service;
use super::admission::Place;
use super::metrics::{self, Limit, Measured, Outcome};
use super::registry::Figures;
use super::respond;
use crate::error::{Error, ErrorKind};
use crate::export::ExportId;
use crate::receipt::{Receipt, Sha256Hex, Status};
use crate::request::{ExportRequest, Format};

/// An export that runs. Dropped without a word it is one whose client left.
pub(super) struct Running {
    service: Arc<Service>,
    id: ExportId,
    figures: Arc<Figures>,
    measured: Measured,
    end: Ended,
    /// Whether ClickHouse has nothing more to do for it.
    proved: bool,
    /// Whether it holds so little that it may do so without a place: Parquet keeps a row group.
    lends: bool,
    place: Place,
}

/// How an export ended.
enum Ended {
    Complete(Sha256Hex),
    /// By an error, before or behind its first byte.
    Failed(Outcome, &'static str),
    Stalled,
    Left,
}

impl Running {
    /// An export begins, for a key.
    pub(super) fn begin(
        service: &Arc<Service>,
        id: &ExportId,
        request: &ExportRequest,
        key_id: &str,
        place: Place,
    ) -> Self {
        let figures = service
            .registry
            .begin(Receipt::begin(id, request), key_id.to_owned());
        service.log.put(figures.entry());
        let (start, end) = request.window.ends();
        tracing::info!(
            export = %id, key = key_id, website = %request.website, start, end, timezone = request.window.zone.name(), format = %request.format, "an export begins"
        );
        Self {
            service: service.clone(),
            id: id.clone(),
            figures,
            measured: Measured::begin(request.format),
            end: Ended::Left,
            proved: false,
            lends: request.format != Format::Parquet,
            place,
        }
    }

    /// The first chunk is there.
    pub(super) fn first_byte(&self) {
        self.measured.first_byte();
    }

    /// A chunk goes out.
    pub(super) fn chunk(&self, bytes: usize) {
        self.measured.chunk(bytes);
        self.figures.add_bytes(bytes as u64);
    }

    /// What has gone into the body by the last word of the export itself.
    pub(super) fn figures(&self, rows: u64, resumes: u32) {
        self.figures.set(rows, resumes);
    }

    /// The export failed before its first byte, and the client gets a status and no row.
    pub(super) fn refused(&mut self, error: &Error) {
        self.figures.set(0, self.figures.resumes());
        self.end = Ended::Failed(Outcome::Refused, respond::code(error));
    }

    /// Resolves when somebody wants it to end.
    pub(super) fn cancelled(&self) -> impl Future<Output = ()> + use<> {
        self.figures.cancelled()
    }

    /// The export failed behind its first byte.
    pub(super) fn aborted(&mut self, error: &Error) {
        if error.kind() == ErrorKind::Cancelled {
            self.end = Ended::Failed(Outcome::Left, respond::code(error));
            tracing::info!(export = %self.id, rows = self.figures.rows(), bytes = self.figures.bytes(), "the export was cancelled");
            return;
        }
        self.end = Ended::Failed(Outcome::Aborted, respond::code(error));
        metrics::failed(error);
        let error: &dyn std::error::Error = error;
        tracing::error!(
            export = %self.id, rows = self.figures.rows(), bytes = self.figures.bytes(), error, "the export was aborted"
        );
    }

    /// The client took nothing for too long.
    pub(super) fn stalled(&mut self) {
        self.end = Ended::Stalled;
        metrics::limit_hit(Limit::StallSeconds);
    }

    /// It waits for its client, and others may have its place.
    pub(super) fn lend(&mut self) {
        if self.may_lend() {
            self.place.lend();
        }
    }

    /// Whether it has a place that it may lend.
    pub(super) fn may_lend(&self) -> bool {
        self.lends && !self.place.is_lent()
    }

    /// Whether it lent its place.
    pub(super) fn has_lent(&self) -> bool {
        self.place.is_lent()
    }

    /// It has work to do, for which it waits so long for a place and no longer.
    pub(super) async fn take_again(&mut self, patience: Duration) {
        self.place.take_again(patience).await;
    }

    /// The end is proved; it only has to be taken.
    pub(super) fn proved(mut self, sha256: Sha256Hex) -> Ending {
        self.proved = true;
        // Whatever the format: the encoder is gone, and with it what it held.
        self.place.lend();
        Ending {
            running: self,
            sha256,
        }
    }
}

/// What the client of an export is told that somebody ended.
pub(super) fn cancelled() -> Error {
    Error::new(
        ErrorKind::Cancelled,
        "the export was cancelled: ask for it again if that was a mistake",
    )
}

impl Drop for Running {
    fn drop(&mut self) {
        let (rows, bytes) = (self.figures.rows(), self.figures.bytes());
        let (status, outcome, reason, sha256) = match std::mem::replace(&mut self.end, Ended::Left)
        {
            Ended::Complete(sha256) => {
                tracing::info!(export = %self.id, rows, bytes, seconds = self.measured.elapsed().as_secs_f64(), "the export is complete");
                let late_rows = self.figures.late_rows();
                if late_rows > 0 {
                    metrics::late(late_rows);
                    tracing::warn!(
                        export = %self.id, late_rows,
                        "rows became visible later than settle_seconds after their insert began, so exports by `since` have left them out"
                    );
                }
                (Status::Complete, Outcome::Complete, None, Some(sha256))
            }
            Ended::Failed(outcome, code) => (Status::Aborted, outcome, Some(code), None),
            Ended::Stalled => {
                tracing::warn!(export = %self.id, rows, bytes, "the client took nothing for {} s, so its export was aborted", self.service.config.stall.as_secs());
                (
                    Status::Aborted,
                    Outcome::Aborted,
                    Some("client_stalled"),
                    None,
                )
            }
            Ended::Left if self.service.is_aborting() => {
                tracing::warn!(export = %self.id, rows, bytes, "the service ended before the export");
                (Status::Aborted, Outcome::Aborted, Some("shutdown"), None)
            }
            Ended::Left => {
                tracing::info!(export = %self.id, rows, bytes, "the client went away");
                (Status::Aborted, Outcome::Left, Some("client_left"), None)
            }
        };
        self.measured.rows(rows);
        self.measured.end(outcome);
        metrics::resumed(self.figures.resumes());
        if !self.proved {
            metrics::killed();
        }
        self.service
            .registry
            .end(&self.figures, status, reason, sha256);
        self.service.log.put(self.figures.entry());
    }
}

/// The proven end of an export, on its way to the connection. Dropped before it was taken, the client has left.
pub(super) struct Ending {
    running: Running,
    sha256: Sha256Hex,
}

/// Where an end waits to be taken, by the connection or by whoever loses patience with it first.
#[derive(Clone)]
pub(super) struct Waiting(Arc<Mutex<Option<Ending>>>);

impl Waiting {
    pub(super) fn new(end: Ending) -> Self {
        Self(Arc::new(Mutex::new(Some(end))))
    }

    /// The end, unless it was taken before.
    pub(super) fn take(&self) -> Option<Ending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Rows of the body, in decimal.
pub(super) const X_EXPORT_ROWS: HeaderName = HeaderName::from_static("x-export-rows");
/// Bytes of the body before any Content-Encoding, in decimal.
pub(super) const X_EXPORT_BYTES: HeaderName = HeaderName::from_static("x-export-bytes");
/// SHA-256 of those bytes, hexadecimal. RFC 9530's `Repr-Digest` would be that of the bytes behind the Content-Encoding.
pub(super) const X_EXPORT_SHA256: HeaderName = HeaderName::from_static("x-export-sha256");

impl Ending {
    /// The client took nothing for too long, so near the end.
    pub(super) fn stalled(mut self) {
        self.running.stalled();
    }

    /// The export failed or was cancelled, so near the end.
    pub(super) fn failed(mut self, error: &Error) {
        self.running.aborted(error);
    }

    /// The connection takes the end: the export is complete. Gives the trailers, which only go to clients that asked for them.
    pub(super) fn taken(mut self) -> HeaderMap {
        let mut trailers = HeaderMap::with_capacity(3);
        trailers.insert(X_EXPORT_ROWS, self.running.figures.rows().into());
        trailers.insert(X_EXPORT_BYTES, self.running.figures.bytes().into());
        if let Ok(sha256) = HeaderValue::from_str(&self.sha256) {
            trailers.insert(X_EXPORT_SHA256, sha256);
        }
        self.running.end = Ended::Complete(self.sha256);
        trailers
    }
}
