//! Raw parameters to a validated request.

mod format;

pub use format::Format;
