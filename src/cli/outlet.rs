//! Where an export's chunks are written: a thread of its own writes them as they are, while the next ones are made.

use std::fs::File;
use std::io::{Result, Write as _};
use std::os::fd::AsFd as _;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// Chunks that wait to be written.
const QUEUED_CHUNKS: usize = 2;

/// Room in a pipe that is written to, in bytes: the most that everybody may have.
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 1 << 20;

/// A file, pipe or device that is written to. Holds [`QUEUED_CHUNKS`] chunks and the one that is written.
pub(super) struct Outlet {
    chunks: mpsc::Sender<Bytes>,
    result: oneshot::Receiver<Result<()>>,
}

impl Outlet {
    /// Begins to write to `file`. The thread is nobody's to wait for: one that writes to a pipe which nobody reads must
    /// not keep a program that was interrupted.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub(super) fn to(file: File) -> Result<Self> {
        #[cfg(target_os = "linux")]
        widen(&file);
        let (chunks, receiver) = mpsc::channel(QUEUED_CHUNKS);
        let (sender, result) = oneshot::channel();
        std::thread::Builder::new()
            .name("outlet".into())
            .spawn(move || {
                // Who asked may be gone.
                let _ = sender.send(write_all(file, receiver));
            })?;
        Ok(Self { chunks, result })
    }

    /// Hands a chunk over. False where no more are taken: [`Outlet::finish`] says why.
    pub(super) async fn put(&self, chunk: Bytes) -> bool {
        self.chunks.send(chunk).await.is_ok()
    }

    /// Waits until all chunks are written.
    ///
    /// # Errors
    ///
    /// One of them was not.
    pub(super) async fn finish(self) -> Result<()> {
        drop(self.chunks);
        self.result
            .await
            .unwrap_or_else(|_| Err(std::io::Error::other("the writing stopped")))
    }
}

/// Makes room in a pipe, so that who writes and who reads wait for each other less often.
#[cfg(target_os = "linux")]
fn widen(file: &File) {
    // What is no pipe has no such room, and a smaller one does as well.
    if rustix::pipe::fcntl_getpipe_size(file).is_ok_and(|bytes| bytes < PIPE_BYTES) {
        let _ = rustix::pipe::fcntl_setpipe_size(file, PIPE_BYTES);
    }
}

fn write_all(mut file: File, mut chunks: mpsc::Receiver<Bytes>) -> Result<()> {
    while let Some(chunk) = chunks.blocking_recv() {
        file.write_all(&chunk)?;
    }
    file.flush()
}

/// Standard output without the library's handle, which looks for ends of lines and copies.
///
/// # Errors
///
/// It is closed.
pub(super) fn standard_output() -> Result<File> {
    Ok(File::from(std::io::stdout().as_fd().try_clone_to_owned()?))
}
