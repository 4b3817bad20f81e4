//! When to stop: Ctrl-C, SIGTERM, or a terminal that hangs up.

/// Resolves when the process is told to stop.
pub async fn shutdown_signal() {
    signalled(true).await;
}

/// Resolves when a process that stops is told so once more. A terminal that closes tells it twice by itself and does not count.
pub async fn second_signal() {
    signalled(false).await;
}

async fn signalled(by_closed_terminal: bool) {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut terminate), Ok(mut hang_up)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::hangup()),
        ) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
                _ = hang_up.recv(), if by_closed_terminal => {}
            }
            return;
        }
    }
    // Where signals cannot be heard, none comes.
    let _ = interrupt.await;
}
