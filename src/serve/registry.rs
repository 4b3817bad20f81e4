//! The exports of this instance: those that run, and the last ones that ended.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::export_log::{Entry, Found};
use crate::receipt::{Moment, Receipt, Sha256Hex, Status};

/// Ended exports that are remembered, so that their receipts are there before the log has them, and even if it never does.
const REMEMBERED: usize = 1_024;

/// One export's figures, as they grow.
pub(super) struct Figures {
    begun: Receipt,
    key_id: String,
    rows: AtomicU64,
    bytes: AtomicU64,
    resumes: AtomicU32,
    version: AtomicU32,
    end: Mutex<Option<End>>,
    /// Whether somebody wants it to end, and whether it has.
    cancelled: watch::Sender<bool>,
    ended: watch::Sender<bool>,
}

/// How an export ended.
struct End {
    status: Status,
    reason: Option<&'static str>,
    sha256: Option<Sha256Hex>,
    at: Moment,
}

impl Figures {
    /// Bytes go out.
    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// What the export says of itself.
    pub(super) fn set(&self, rows: u64, resumes: u32) {
        self.rows.store(rows, Ordering::Relaxed);
        self.resumes.store(resumes, Ordering::Relaxed);
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn resumes(&self) -> u32 {
        self.resumes.load(Ordering::Relaxed)
    }

    /// Resolves when somebody wants the export to end.
    pub(super) fn cancelled(&self) -> impl Future<Output = ()> + use<> {
        is_true(self.cancelled.subscribe())
    }

    /// Rows that were found to be in no earlier export by arrival.
    pub(super) fn late_rows(&self) -> u64 {
        self.begun.late_rows.unwrap_or(0)
    }

    fn receipt(&self) -> Receipt {
        let mut receipt = self.begun.clone();
        receipt.rows = self.rows();
        receipt.bytes = self.bytes();
        receipt.resumes = self.resumes();
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(end) = &*end {
            receipt.status = end.status;
            receipt.reason = end.reason.map(str::to_owned);
            receipt.sha256.clone_from(&end.sha256);
            receipt.finished = Some(end.at);
        }
        receipt
    }

    /// The state of now, as the next row of the log.
    pub(super) fn entry(&self) -> Entry {
        // Counted first: a state that counts higher is never the older one's figures with a running status.
        let version = self.version.fetch_add(1, Ordering::Relaxed);
        Entry {
            receipt: self.receipt(),
            key_id: self.key_id.clone(),
            version,
        }
    }
}

/// Resolves when it is said so. Never, if nobody can say it any more.
async fn is_true(mut said: watch::Receiver<bool>) {
    if said.wait_for(|said| *said).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// All exports that this instance can answer for from memory.
#[derive(Default)]
pub(super) struct Registry(Mutex<Exports>);

#[derive(Default)]
struct Exports {
    by_id: HashMap<String, Arc<Figures>>,
    /// The ended ones, the oldest first.
    ended: VecDeque<String>,
}

impl Registry {
    /// An export begins.
    pub(super) fn begin(&self, begun: Receipt, key_id: String) -> Arc<Figures> {
        let id = begun.export_id.clone();
        let figures = Arc::new(Figures {
            begun,
            key_id,
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            resumes: AtomicU32::new(0),
            version: AtomicU32::new(0),
            end: Mutex::new(None),
            cancelled: watch::Sender::new(false),
            ended: watch::Sender::new(false),
        });
        self.lock().by_id.insert(id, figures.clone());
        figures
    }

    /// An export has ended.
    pub(super) fn end(
        &self,
        figures: &Figures,
        status: Status,
        reason: Option<&'static str>,
        sha256: Option<Sha256Hex>,
    ) {
        *figures.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(End {
            status,
            reason,
            sha256,
            at: Moment::now(),
        });
        figures.ended.send_replace(true);
        let mut exports = self.lock();
        exports.ended.push_back(figures.begun.export_id.clone());
        if exports.ended.len() > REMEMBERED
            && let Some(oldest) = exports.ended.pop_front()
        {
            exports.by_id.remove(&oldest);
        }
    }

    /// An export of this instance, if it runs or ended lately.
    pub(super) fn find(&self, id: &str) -> Option<Found> {
        let exports = self.lock();
        let figures = exports.by_id.get(id)?;
        Some(Found {
            receipt: figures.receipt(),
            key_id: figures.key_id.clone(),
        })
    }

    /// Tells an export of this instance to end, if it runs or ended lately; resolves when it has ended.
    pub(super) fn cancel(&self, id: &str) -> Option<impl Future<Output = ()> + use<>> {
        let figures = self.lock().by_id.get(id)?.clone();
        figures.cancelled.send_replace(true);
        Some(is_true(figures.ended.subscribe()))
    }

    /// The states of the exports that run now.
    pub(super) fn running(&self) -> Vec<Entry> {
        let running: Vec<_> = {
            let exports = self.lock();
            let is_running = |figures: &&Arc<Figures>| {
                figures
                    .end
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .is_none()
            };
            exports.by_id.values().filter(is_running).cloned().collect()
        };
        running.iter().map(|figures| figures.entry()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Exports> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
