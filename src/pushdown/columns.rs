//! The columns of an export, in the order of every format, and the wire's own row in front of them.

/// The fifteen text columns of an export, in order, behind `timestamp` and `event_type`.
pub const TEXT_COLUMNS: [&str; 15] = [
    "url",
    "event_name",
    "event_data",
    "visitor_id",
    "session_id",
    "country",
    "region",
    "city",
    "browser",
    "os",
    "device",
    "referrer",
    "utm_source",
    "utm_medium",
    "utm_campaign",
];

/// The place of `event_data` among [`TEXT_COLUMNS`]: the only one whose text is JSON.
pub const EVENT_DATA: usize = 2;

/// The byte behind the texts of a row on the wire. No UTF-8 has it, so what ClickHouse says of an error, and repeats of a request,
/// cannot be what a row that was cut lacked.
pub const ROW_END: u8 = 0xff;

/// All columns of an export, in the order of every format.
pub const COLUMNS: [&str; 17] = {
    let mut columns = ["timestamp"; 17];
    columns[1] = "event_type";
    let mut i = 0;
    while i < TEXT_COLUMNS.len() {
        columns[i + 2] = TEXT_COLUMNS[i];
        i += 1;
    }
    columns
};
