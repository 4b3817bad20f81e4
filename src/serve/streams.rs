//! Ends a stream of an HTTP/2 connection whose client takes nothing of it for too long.
//!
//! Over HTTP/1.1 such a client is noticed by its socket ([`Guard`](super::guard::Guard)). An HTTP/2 connection lives on while one of its streams has a closed
//! window, and so would that stream's body. hyper gives each stream to the executor as a task of its own: dropping this
//! resets the stream, and what waits in front of its window goes with it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::rt::Executor;

/// Runs the streams of a connection, each as long as its client takes something of it now and then.
#[derive(Clone, Copy)]
pub(super) struct Streams {
    /// How long a client may take nothing.
    stall: Duration,
}

/// A stream, as those know it who write its body.
#[derive(Clone, Default)]
pub(super) struct Stream(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Since when something lies ready that the client has not taken.
    ready: Option<Instant>,
    stalled: bool,
}

tokio::task_local! {
    static CURRENT: Stream;
}

impl Streams {
    pub(super) fn new(stall: Duration) -> Self {
        Self { stall }
    }
}

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        let (stream, stall) = (Stream::default(), self.stall);
        tokio::spawn(async move {
            tokio::select! {
                _ = CURRENT.scope(stream.clone(), task) => {}
                () = stream.stalls(stall) => {}
            }
        });
    }
}

impl Stream {
    /// The stream that is answered by the task that asks; none over HTTP/1.1.
    pub(super) fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Something lies ready: from now on the client is waited for.
    pub(super) fn is_ready(&self) {
        self.state().ready = Some(Instant::now());
    }

    /// The client has taken all that there was.
    pub(super) fn is_taken(&self) {
        self.state().ready = None;
    }

    /// Whether it was given up because the client took nothing.
    pub(super) fn has_stalled(&self) -> bool {
        self.state().stalled
    }

    /// Waits until something has lain ready for so long.
    async fn stalls(&self, stall: Duration) {
        loop {
            let left = {
                let mut state = self.state();
                let waited = state.ready.map_or(Duration::ZERO, |ready| ready.elapsed());
                state.stalled = waited >= stall;
                stall.saturating_sub(waited)
            };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
