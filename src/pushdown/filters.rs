//! Filters to conditions. Values and keys are parameters; the text is made of constants and the names of columns.
//!
//! A column that may hold NULL is looked at as if that were the empty text, which is what an export makes of it. Of
//! `event_data` ClickHouse's `JSONType` and `JSONExtract…` read the member; where the text is not JSON to them, or no
//! object, there is no member. They are asked for the member's type first: `JSONExtractString` alone makes a text of
//! numbers and of whole objects, and cannot tell `{"a":{"b":1}}` from `{"a":"{\"b\":1}"}`.

use std::fmt::Write as _;

use super::statement::Statement;
use crate::request::{By, Filter, Wanted};

/// Appends ` AND …` for each filter.
pub(super) fn push_filters(statement: &mut Statement, filters: &[Filter]) {
    for (index, filter) in filters.iter().enumerate() {
        for (negation, which, wanted) in [
            ("", "any", &filter.any_of),
            ("NOT ", "none", &filter.none_of),
        ] {
            if wanted.is_empty() {
                continue;
            }
            let _ = write!(statement.text, "\n  AND {negation}(");
            let name = format!("{which}_{index}");
            match &filter.by {
                By::Column(column) => {
                    push_texts(statement, &format!("ifNull({column}, '')"), &name, wanted);
                }
                By::Data(key) => push_members(statement, key, &name, wanted),
            }
            statement.text.push(')');
        }
    }
}

/// Whether a text is one of those wanted.
fn push_texts(statement: &mut Statement, text: &str, name: &str, wanted: &[Wanted]) {
    let mut exact = Vec::new();
    let mut prefixes = Vec::new();
    for wanted in wanted {
        match wanted {
            Wanted::Exact(value) => exact.push(value.as_str()),
            Wanted::Prefix(value) => prefixes.push(value.as_str()),
        }
    }
    if !exact.is_empty() {
        let _ = write!(statement.text, "{text} IN (");
        push_list(statement, name, "String", &exact);
    }
    for (number, prefix) in prefixes.into_iter().enumerate() {
        let or = if number > 0 || !exact.is_empty() {
            " OR "
        } else {
            ""
        };
        let _ = write!(
            statement.text,
            "{or}startsWith({text}, {{{name}_prefix_{number}:String}})"
        );
        statement.text_parameter(format!("{name}_prefix_{number}"), prefix);
    }
}

/// Appends the values and the closing parenthesis.
fn push_list(statement: &mut Statement, name: &str, of_type: &str, values: &[&str]) {
    for (number, value) in values.iter().enumerate() {
        let comma = if number > 0 { ", " } else { "" };
        let _ = write!(statement.text, "{comma}{{{name}_{number}:{of_type}}}");
        statement.text_parameter(format!("{name}_{number}"), value);
    }
    statement.text.push(')');
}

/// Whether a member of `event_data` is one of those wanted: a text that is the value, a number that is the value's, `true`
/// or `false`; for the empty value also a member that is null or not there.
fn push_members(statement: &mut Statement, key: &str, name: &str, wanted: &[Wanted]) {
    let key_name = format!("{name}_key");
    statement.text_parameter(key_name.clone(), key);
    let member = format!("(ifNull(event_data, ''), {{{key_name}:String}})");
    let values: Vec<&str> = wanted
        .iter()
        .map(|wanted| match wanted {
            Wanted::Exact(value) | Wanted::Prefix(value) => value.as_str(),
        })
        .collect();

    let _ = write!(
        statement.text,
        "JSONType{member} = 'String' AND JSONExtractString{member} IN ("
    );
    push_list(statement, name, "String", &values);
    let numbers: Vec<Number> = values
        .iter()
        .filter_map(|value| Number::of(value))
        .collect();
    push_numbers(statement, &member, name, &numbers);
    for truth in ["false", "true"] {
        if values.contains(&truth) {
            let _ = write!(
                statement.text,
                "\n    OR JSONType{member} = 'Bool' AND JSONExtractBool{member} = {truth}"
            );
        }
    }
    if values.contains(&"") {
        let _ = write!(statement.text, "\n    OR JSONType{member} = 'Null'");
    }
}

/// A value that is written as a JSON number: as an integer, where it is one, and as the nearest double.
struct Number {
    integer: Option<i128>,
    double: f64,
}

impl Number {
    fn of(value: &str) -> Option<Self> {
        // A number of JSON and nothing else: Rust reads `inf` and `+1` as well.
        let number: serde_json::Number = serde_json::from_str(value).ok()?;
        if value.bytes().any(|byte| byte.is_ascii_whitespace()) {
            return None;
        }
        let double: f64 = value.parse().ok()?;
        let integer = number.as_i64().map(i128::from);
        let integer = integer.or_else(|| number.as_u64().map(i128::from));
        // A double without a fraction is an integer, which this finds exactly.
        let whole = || (double.fract() == 0.0 && double.abs() < 2e19).then_some(double as i128);
        Some(Self {
            integer: integer.or_else(whole),
            double,
        })
    }
}

fn push_numbers(statement: &mut Statement, member: &str, name: &str, numbers: &[Number]) {
    if numbers.is_empty() {
        return;
    }
    let signed = numbers
        .iter()
        .filter_map(|number| i64::try_from(number.integer?).ok());
    let unsigned = numbers
        .iter()
        .filter_map(|number| u64::try_from(number.integer?).ok());
    // Adding zero makes a zero of minus zero, which a set of doubles tells apart.
    let doubles = numbers.iter().map(|number| number.double + 0.0);
    for (kind, json, plus, of_type, values) in [
        ("Int", "Int64", "", "Int64", texts(signed)),
        ("UInt", "UInt64", "", "UInt64", texts(unsigned)),
        ("Float", "Double", " + 0", "Float64", texts(doubles)),
    ] {
        if values.is_empty() {
            continue;
        }
        let _ = write!(
            statement.text,
            "\n    OR JSONType{member} = '{json}' AND JSONExtract{kind}{member}{plus} IN ("
        );
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        push_list(
            statement,
            &format!("{name}_{}", kind.to_lowercase()),
            of_type,
            &values,
        );
    }
}

/// As ClickHouse reads them: `Debug` writes doubles with an exponent where `Display` writes hundreds of digits.
fn texts(values: impl Iterator<Item = impl std::fmt::Debug>) -> Vec<String> {
    values.map(|value| format!("{value:?}")).collect()
}
