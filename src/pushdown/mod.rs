//! A validated request to SQL and its parameters.
//!
//! In: an [`ExportRequest`](crate::request::ExportRequest), the table, the [`Fence`] and the [`Range`] that is wanted of
//! the window. Out: a [`Statement`]. Every value that came from outside is a server-side
//! parameter; the text is made of constants and the table's name alone. Does no I/O.
//!
//! What is not pushed down: RFC 3339 text (`formatDateTime` costs ClickHouse 30 ns a row; here it is a copy from a
//! cache), the start of a day (ClickHouse goes the wrong way where a midnight did not exist) and a zone's offset
//! by name (`timezoneOffset` is a day off where a date was skipped). The zone's transitions are pushed instead.

mod arrivals;
pub mod columns;
mod filters;
mod packed;
mod predicate;
mod quarters;
mod slots;
mod statement;

pub use arrivals::arrivals;
pub use predicate::{Fence, Key, Range};
pub use quarters::{COUNTS, Counting, QUARTER_MS, quarters};
pub use slots::{Slots, kept_slots, slots};
pub use statement::{Form, Parts, Statement, TextTypes, Value, proof, rows};
