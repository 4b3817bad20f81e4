//! How long the end of a file waits for a client that takes nothing.

use std::time::Duration;

use tokio::sync::mpsc;

/// Waits until nobody takes what was handed over any more, having taken its end or not. Gives whether that is because nothing was taken
/// for so long.
pub(super) async fn is_lost<T>(handed: &mpsc::Sender<T>, stall: Duration) -> bool {
    loop {
        let room = handed.capacity();
        let closed = tokio::time::timeout(stall, handed.closed()).await;
        if closed.is_ok() {
            return false;
        }
        if handed.capacity() == room {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long a client may take nothing, and how long a slow one does.
    const STALL: Duration = Duration::from_secs(1);
    const SLOW: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn patience_is_lost_with_who_takes_nothing_and_not_with_who_is_slow() {
        let (handed, mut taken) = mpsc::channel(8);
        while handed.try_send(()).is_ok() {}
        let slow = tokio::spawn(async move {
            for _ in 0..5 {
                tokio::time::sleep(SLOW).await;
                taken.recv().await;
            }
            // The rest is left.
        });
        assert!(!is_lost(&handed, STALL).await);
        assert!(slow.await.is_ok());

        let (handed, taken) = mpsc::channel(8);
        assert!(handed.try_send(()).is_ok());
        assert!(is_lost(&handed, SLOW).await);
        drop(taken);
        assert!(!is_lost(&handed, SLOW).await);
    }
}
