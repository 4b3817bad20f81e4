//! How far a load is: a bar on a terminal, nothing elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error, gone when it is dropped.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// A bar over so many bytes of the file.
    pub(super) fn new(what: &'static str, bytes: u64) -> Self {
        // Draws only where standard error is a terminal.
        let bar = ProgressBar::new(bytes).with_message(what);
        if let Ok(style) = ProgressStyle::with_template(
            "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        ) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// So many bytes are done.
    pub(super) fn set(&self, bytes: u64) {
        self.0.set_position(bytes);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
