//! The one task that writes the log.
//!
//! Exports leave their newest state and go on; a state that was not written yet is replaced by a newer one of the same export.
//! The task collects for [`LINGER`] and inserts what there is at once. What cannot be written is kept and tried again,
//! ever more slowly.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::{Entry, ExportLog};

/// Exports whose newest state waits to be written. One more is dropped, with a warning.
pub const MAX_PENDING: usize = 10_000;

/// How long to collect before an insert: at most four a second.
const LINGER: Duration = Duration::from_millis(250);

/// Most rows of one insert.
const MAX_BATCH: usize = 1_000;

/// The pause after a first failure; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long the last insert may take when the service ends.
const CLOSING: Duration = Duration::from_secs(5);

/// Takes states without ever waiting.
pub struct LogWriter {
    pending: Mutex<HashMap<String, Entry>>,
    changed: Notify,
    closing: watch::Sender<bool>,
    /// Called with the number of states that an insert could not write, or that were dropped.
    failed: fn(u64),
}

/// The task that writes, until it is closed.
pub struct WriterTask {
    writer: Arc<LogWriter>,
    task: JoinHandle<()>,
}

impl LogWriter {
    /// A writer without its task. `failed` counts failures.
    pub fn new(failed: fn(u64)) -> Arc<Self> {
        Arc::new(Self {
            pending: Mutex::default(),
            changed: Notify::new(),
            closing: watch::Sender::new(false),
            failed,
        })
    }

    /// Leaves the newest state of an export.
    pub fn put(&self, entry: Entry) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let id = entry.receipt.export_id.clone();
        let room = pending.len() < MAX_PENDING || pending.contains_key(&id);
        if room {
            keep_newest(&mut pending, entry);
        }
        drop(pending);
        if room {
            self.changed.notify_one();
        } else {
            (self.failed)(1);
            tracing::warn!(
                export = id,
                "{MAX_PENDING} exports wait for export_log, so this one is left out of it"
            );
        }
    }

    /// Starts the task. `running` gives the states of the exports that run, which is asked every `heartbeat`.
    pub fn start(
        self: &Arc<Self>,
        log: ExportLog,
        heartbeat: Duration,
        running: impl Fn() -> Vec<Entry> + Send + 'static,
    ) -> WriterTask {
        WriterTask {
            writer: self.clone(),
            task: tokio::spawn(self.clone().run(log, heartbeat, running)),
        }
    }

    async fn run(
        self: Arc<Self>,
        log: ExportLog,
        heartbeat: Duration,
        running: impl Fn() -> Vec<Entry> + Send,
    ) {
        let mut closing = self.closing.subscribe();
        let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + heartbeat, heartbeat);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::select! {
                () = self.changed.notified() => {}
                _ = beat.tick() => running().into_iter().for_each(|entry| self.put(entry)),
                _ = closing.wait_for(|closing| *closing) => break,
            }
            // What comes now goes along.
            let mut wait = LINGER;
            if self.write_all(&log).await {
                pause = FIRST_PAUSE;
            } else {
                wait = pause;
                pause = (pause * 2).min(LONGEST_PAUSE);
                self.changed.notify_one();
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = closing.wait_for(|closing| *closing) => break,
            }
        }
        self.write_all(&log).await;
    }

    /// Writes what waits; whether all of it could be.
    async fn write_all(&self, log: &ExportLog) -> bool {
        loop {
            let batch = self.take_batch();
            if batch.is_empty() {
                return true;
            }
            let Err(error) = log.write(&batch).await else {
                continue;
            };
            let states = batch.len();
            (self.failed)(states as u64);
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            for entry in batch {
                keep_newest(&mut pending, entry);
            }
            drop(pending);
            let error: &dyn std::error::Error = &error;
            tracing::warn!(
                states,
                error,
                "export_log cannot be written, exports go on: check that `rowspout schema apply` was run, and that the \
                 user of ROWSPOUT_LOG_USER may INSERT into it"
            );
            return false;
        }
    }

    fn take_batch(&self) -> Vec<Entry> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.len() <= MAX_BATCH {
            return pending.drain().map(|(_, entry)| entry).collect();
        }
        let ids: Vec<_> = pending.keys().take(MAX_BATCH).cloned().collect();
        ids.iter().filter_map(|id| pending.remove(id)).collect()
    }
}

fn keep_newest(pending: &mut HashMap<String, Entry>, entry: Entry) {
    match pending.get_mut(&entry.receipt.export_id) {
        Some(kept) if kept.version >= entry.version => {}
        Some(kept) => *kept = entry,
        None => {
            pending.insert(entry.receipt.export_id.clone(), entry);
        }
    }
}

impl WriterTask {
    /// Writes what waits and ends the task, within five seconds. Says whether all was written.
    pub async fn close(self) -> bool {
        self.writer.closing.send_replace(true);
        let mut task = self.task;
        if tokio::time::timeout(CLOSING, &mut task).await.is_err() {
            task.abort();
        }
        let left = self
            .writer
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len();
        if left > 0 {
            tracing::warn!(exports = left, "the ends of exports are not in export_log");
        }
        left == 0
    }
}
