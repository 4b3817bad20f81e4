//! Sockets that are closed while the service stops: it stays until their clients have what was sent.
//!
//! The last bytes of a socket that was closed are the system's to hand over, and it does, unless the network leaves with the
//! process, as a container's does: then the end of a file that was sent whole would never come.

use std::os::fd::AsFd;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// How much longer than the service waits a socket may take, so that it is never the socket that gives up first and seems to
/// have handed over what it has not: it is told whole seconds only, cut off, and none would have it reset.
const BEYOND: Duration = Duration::from_secs(2);

/// The sockets whose clients have not yet all that was sent.
#[derive(Debug, Default)]
pub(super) struct Leaving(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Until when they are waited for, once the service stops.
    until: Option<Instant>,
    closing: JoinSet<()>,
}

impl State {
    fn forget_ended(&mut self) {
        while self.closing.try_join_next().is_some() {}
    }
}

impl Leaving {
    /// Has the sockets that are closed from now on waited for, until an instant.
    pub(super) fn until(&self, until: Instant) {
        self.lock().until = Some(until);
    }

    /// Takes a socket over that is about to be closed: its client is told of the end at once, behind what waits to be sent. What
    /// is returned has to be dropped behind the socket: only the last one that closes it waits for the client.
    pub(super) fn close(&self, socket: &impl AsFd) -> Option<Sender<()>> {
        let mut state = self.lock();
        let until = state.until?;
        // Where that does not go, it is closed as usual.
        let runtime = Handle::try_current().ok()?;
        let socket = socket.as_fd().try_clone_to_owned().ok()?;
        let named = SockRef::from(&socket);
        named.shutdown(std::net::Shutdown::Write).ok()?;
        let (other, closed) = channel();
        let close = move || {
            // Nothing is sent: it ends when the other one is closed.
            let _ = closed.recv();
            let patience = until.saturating_duration_since(Instant::now()) + BEYOND;
            // Where that cannot be set, the system hands over what it can.
            let _ = SockRef::from(&socket).set_linger(Some(patience));
            drop(socket);
        };
        state.forget_ended();
        state.closing.spawn_blocking_on(close, &runtime);
        Some(other)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        let mut state = self.lock();
        state.forget_ended();
        state.closing.len()
    }

    /// Waits until there are none.
    pub(super) async fn gone(&self) {
        loop {
            // The lock is given back between two looks, so that more may come meanwhile.
            let polled = std::future::poll_fn(|cx| self.lock().closing.poll_join_next(cx));
            if polled.await.is_none() {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
