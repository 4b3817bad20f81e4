//! Raw parameters to a validated request.
//!
//! In: names and values as they stand in a URL or on a command line. Out: an [`ExportRequest`] that cannot be wrong,
//! with the window's instants computed. Costs some 2,000 look-ups in the zone database, about 0.1 ms. Holds nothing.

mod fields;
mod filter;
mod format;
mod parameters;
mod plan;
mod query;
mod since;
mod values;
mod website;
mod window;

pub use fields::{Field, Fields};
pub use filter::{By, DATA_PREFIX, FILTERS, Filter, MAX_FILTER_BYTES, MAX_FILTER_VALUES, Wanted};
pub use format::{Compression, Format};
#[cfg(test)]
pub(crate) use parameters::PARAMETERS;
pub use parameters::{Asked, ExportRequest};
pub(crate) use parameters::{TICKET_PREFIX, pairs, quoted};
pub(crate) use plan::PART_ROWS;
pub use plan::{DEFAULT_PART_ROWS, PlanRequest};
pub use since::{ArrivalBounds, Arrivals, Arrived, Since, SinceRequest, Watermark};
pub use website::WebsiteId;
pub(crate) use window::instant_text;
pub use window::{Interval, MAX_DAYS, Offsets, Window};
