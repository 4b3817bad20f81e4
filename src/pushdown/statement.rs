//! The two statements of an export: its rows, and the proof of its end.

use std::fmt::Write as _;

use super::columns::{ROW_END, TEXT_COLUMNS};
use super::packed;
use super::predicate::{AFTER_LAST, AT_LAST, FRESH, Fence, Range, bind_last, push_where};
use crate::request::{ExportRequest, Field, Offsets};

/// A parameter's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Unsigned(u64),
    /// A text.
    Text(String),
}

/// SQL with named server-side parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The text, with `{name:Type}` where a value goes.
    pub text: String,
    /// The values by name.
    pub parameters: Vec<(String, Value)>,
}

impl Statement {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            parameters: Vec::new(),
        }
    }

    pub(super) fn int_parameter(&mut self, name: impl Into<String>, value: i64) {
        self.parameters.push((name.into(), Value::Int(value)));
    }

    pub(super) fn text_parameter(&mut self, name: impl Into<String>, value: &str) {
        self.parameters
            .push((name.into(), Value::Text(value.to_owned())));
    }

    /// As [`Statement::text_parameter`], for one that may be bound already.
    pub(super) fn text_parameter_once(&mut self, name: &str, value: &str) {
        if !self.parameters.iter().any(|(bound, _)| bound == name) {
            self.text_parameter(name, value);
        }
    }
}

/// How rows travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Each row as one text that holds it in RowBinary, put together a column at a time.
    Packed(Parts),
    /// Column by column.
    Columns(Parts),
    /// As one text, too, with texts as hexadecimal digits: twice the bytes, but nothing in them can look like ClickHouse's text of
    /// an error.
    Hex,
}

/// What statements need to know of the types of the text columns, each of which is one of [`TEXT_COLUMNS`]. Where nothing is
/// known of a column, it is taken for a `String`.
#[derive(Clone, Debug, Default)]
pub struct TextTypes {
    /// Those that may hold NULL.
    pub nullable: Vec<&'static str>,
    /// Those of few values.
    pub low_cardinality: Vec<&'static str>,
}

impl TextTypes {
    /// A column's text. NULL is the empty one; the wire knows no other.
    pub(super) fn text(&self, column: &str) -> String {
        // Bare where it can be: a LowCardinality column goes through a merge of parts as numbers.
        if self.nullable.contains(&column) {
            format!("ifNull({column}, '')")
        } else {
            column.to_owned()
        }
    }
}

/// How a range's rows lie in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Nobody has looked.
    Unknown,
    /// Nobody can look, as behind a view or a table that leads to other servers'.
    Untold,
    /// Most of them where no other part has rows.
    Disjoint,
    /// Most of them where another part has rows too.
    Overlapping,
}

/// What no server's profile may bend: a limit that is reached is an error, never a shorter result; counts are those of this
/// moment, and numbers. A profile that makes one of these settings constant refuses every export, as `rowspout check` shows.
pub(super) const PINNED: &str = "limit = 0, offset = 0, max_result_rows = 0, max_result_bytes = 0, \
    timeout_overflow_mode = 'throw', read_overflow_mode = 'throw', read_overflow_mode_leaf = 'throw', \
    result_overflow_mode = 'throw', sort_overflow_mode = 'throw', group_by_overflow_mode = 'throw', \
    set_overflow_mode = 'throw', transfer_overflow_mode = 'throw', distinct_overflow_mode = 'throw', \
    join_overflow_mode = 'throw', skip_unavailable_shards = 0, \
    fallback_to_stale_replicas_for_distributed_queries = 0, use_query_cache = 0, aggregate_functions_null_for_empty = 0";

/// The fastest settings for a form. Blocks are small, but not so small that what is done once for each of them counts; where
/// nothing is known of the parts, none is read before its rows are due, so that the first rows come early.
fn settings(form: Form) -> &'static str {
    match form {
        // Rows are packed before they are sorted: where parts overlap, two keys and one text a row are merged then
        // instead of each column, which takes half the time.
        Form::Packed(Parts::Unknown | Parts::Overlapping) | Form::Hex => {
            "query_plan_execute_functions_after_sorting = 0, read_in_order_use_buffering = 0, max_block_size = 16384"
        }
        // Whether parts overlap or not, little slower than what is made for that.
        Form::Packed(Parts::Untold) => {
            "query_plan_execute_functions_after_sorting = 0, max_block_size = 16384"
        }
        Form::Packed(Parts::Disjoint) => {
            "query_plan_execute_functions_after_sorting = 0, read_in_order_two_level_merge_threshold = 1, max_block_size = 32768, \
             preferred_block_size_bytes = 4194304"
        }
        Form::Columns(Parts::Unknown) => "read_in_order_use_buffering = 0, max_block_size = 8192",
        Form::Columns(Parts::Untold | Parts::Disjoint | Parts::Overlapping) => {
            "max_block_size = 8192"
        }
    }
}

/// The rows of a range in the order of the primary key.
///
/// One row on the wire: a byte that only a row begins with (the event type, plus 2 where the row is fresh), the instant
/// in milliseconds, the event's id, the zone's offset at that instant in minutes, the text columns, and [`ROW_END`].
pub fn rows(
    request: &ExportRequest,
    table: &str,
    fence: Fence,
    range: Range,
    form: Form,
    types: &TextTypes,
) -> Statement {
    let (open, close) = match form {
        Form::Packed(_) => (" concat(", ") AS packed"),
        Form::Columns(_) => ("", ""),
        Form::Hex => (" formatRow('RowBinary',", ") AS packed"),
    };
    let mut statement = Statement::new(format!("SELECT{open}"));
    statement.int_parameter("settled", fence.settled());
    let head = [
        format!(
            "toUInt8(multiIf(event_type = 'pageview', if({FRESH}, 3, 1), event_type = 'event', if({FRESH}, 4, 2), 0))"
        ),
        "toUnixTimestamp64Milli(timestamp)".to_owned(),
        "toUInt64(event_id)".to_owned(),
        offset(&mut statement, &request.window.offsets),
    ];
    let dense = request.filters.is_empty() && request.arrived.is_none();
    let head = head.into_iter().map(|number| match form {
        Form::Packed(_) => packed::number(&number),
        Form::Columns(_) | Form::Hex => number,
    });
    let texts = TEXT_COLUMNS.into_iter().enumerate().map(|(place, column)| {
        let asked = request.fields.has(Field::Text(place));
        let is_last = place + 1 == TEXT_COLUMNS.len();
        match form {
            Form::Packed(_) if asked && is_last => packed::last_text(column, types, dense),
            Form::Packed(_) if asked => packed::text(column, types, dense),
            Form::Packed(_) if is_last => packed::ended(packed::EMPTY),
            Form::Packed(_) => packed::EMPTY.to_owned(),
            // A column that nobody asked for is not read. Its name is another one: filters look at the column.
            _ if !asked => format!("'' AS no_{column}"),
            Form::Columns(_) => types.text(column),
            Form::Hex => format!("hex({})", types.text(column)),
        }
    });
    let end = match form {
        // Behind the last text.
        Form::Packed(_) => None,
        Form::Columns(_) | Form::Hex => Some(format!("toUInt8({ROW_END})")),
    };
    let fields: Vec<_> = head.chain(texts).chain(end).collect();
    let _ = write!(
        statement.text,
        "\n  {}{close}\nFROM {table}\n",
        fields.join(",\n  ")
    );
    push_where(&mut statement, request, fence, range.interval);
    if let Some(last) = range.last {
        let _ = write!(statement.text, "\n  AND {AFTER_LAST}");
        bind_last(&mut statement, last);
    }
    statement.text.push_str("\nORDER BY timestamp, event_id");
    if let Some(limit) = range.limit {
        statement.text.push_str("\nLIMIT {limit:UInt64}");
        let limit = ("limit".to_owned(), Value::Unsigned(limit));
        statement.parameters.push(limit);
    }
    let _ = write!(statement.text, "\nSETTINGS {}, {PINNED}", settings(form));
    statement
}

/// Four counts in a range under the export's own predicate: settled rows up to the last key, all rows up to it, rows at
/// it, and rows behind it. Without a last key all rows count as behind it.
pub fn proof(request: &ExportRequest, table: &str, fence: Fence, range: Range) -> Statement {
    let mut statement = Statement::new(match range.last {
        Some(_) => format!(
            "SELECT\n  countIf(NOT ({AFTER_LAST}) AND NOT ({FRESH})) AS settled,\n  countIf(NOT ({AFTER_LAST})) AS up_to,\n  \
             countIf({AT_LAST}) AS at,\n  countIf({AFTER_LAST}) AS behind\nFROM {table}\n"
        ),
        None => format!(
            "SELECT toUInt64(0) AS settled, toUInt64(0) AS up_to, toUInt64(0) AS at, count() AS behind\nFROM {table}\n"
        ),
    });
    if let Some(last) = range.last {
        statement.int_parameter("settled", fence.settled());
        bind_last(&mut statement, last);
    }
    push_where(&mut statement, request, fence, range.interval);
    let _ = write!(statement.text, "\nSETTINGS {PINNED}");
    statement
}

/// The zone's offset at each row's instant, from the transitions inside the window.
fn offset(statement: &mut Statement, offsets: &Offsets) -> String {
    statement.int_parameter("offset_0", offsets.first.into());
    if offsets.transitions.is_empty() {
        return "{offset_0:Int16}".to_owned();
    }
    let mut sql = "multiIf(".to_owned();
    for (index, &(instant, offset)) in offsets.transitions.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(
            sql,
            "timestamp < fromUnixTimestamp64Milli({{transition_{n}:Int64}}, 'UTC'), {{offset_{index}:Int16}}, ",
            n = index + 1
        );
        statement.int_parameter(format!("transition_{}", index + 1), instant);
        statement.int_parameter(format!("offset_{}", index + 1), offset.into());
    }
    let _ = write!(sql, "{{offset_{}:Int16}})", offsets.transitions.len());
    sql
}
