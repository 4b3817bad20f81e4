//! Cells that no spreadsheet takes for a formula.
//!
//! After OWASP, CSV Injection (<https://owasp.org/www-community/attacks/CSV_Injection>): a cell that begins with one of
//! `=`, `+`, `-`, `@`, a tab, CR, LF or the full-width forms of the first four gets an apostrophe in front and is put in
//! quotes. So does what follows a semicolon, a tab or a line break within a cell: spreadsheets of some countries and settings
//! begin another cell there, whatever quotes there are.

use std::borrow::Cow;

use super::{cell, quoted};
use crate::encode::output::Output;
use crate::encode::rows::as_utf8;

/// What tells a spreadsheet that the file is UTF-8.
pub(super) const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Full-width `=`, `+`, `-` and `@`, which some spreadsheets take for the narrow ones.
const FULL_WIDTH: [&[u8]; 4] = [
    "\u{ff1d}".as_bytes(),
    "\u{ff0b}".as_bytes(),
    "\u{ff0d}".as_bytes(),
    "\u{ff20}".as_bytes(),
];

/// Writes any text as a cell.
pub(super) fn safe_cell(output: &mut Output, text: &[u8]) {
    let text = as_utf8(text);
    match safe(&text) {
        Cow::Borrowed(text) => cell(output, text),
        Cow::Owned(text) => quoted(output, &text),
    }
}

/// The text, with apostrophes where one is needed.
fn safe(text: &[u8]) -> Cow<'_, [u8]> {
    let mut safe = Vec::new();
    let mut copied = 0;
    let mut first = true;
    for (at, byte) in text.iter().enumerate() {
        if first && begins_formula(&text[at..]) {
            safe.extend_from_slice(&text[copied..at]);
            safe.push(b'\'');
            copied = at;
        }
        first = matches!(byte, b';' | b'\t' | b'\n' | b'\r');
    }
    if safe.is_empty() {
        return Cow::Borrowed(text);
    }
    safe.extend_from_slice(&text[copied..]);
    Cow::Owned(safe)
}

fn begins_formula(text: &[u8]) -> bool {
    let narrow = matches!(
        text.first(),
        Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | b'\n')
    );
    narrow || FULL_WIDTH.iter().any(|mark| text.starts_with(mark))
}

#[cfg(test)]
mod tests {
    use super::safe;

    #[test]
    fn what_could_begin_a_formula_does_not() {
        for (text, expected) in [
            ("", ""),
            ("/a?b=c", "/a?b=c"),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@a", "'@a"),
            ("\t=1", "'\t'=1"),
            ("\r\n=1", "'\r'\n'=1"),
            ("\n", "'\n"),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("\u{ff20}1", "'\u{ff20}1"),
            ("a;=1", "a;'=1"),
            ("a;b=1", "a;b=1"),
            ("a;;-1;+", "a;;'-1;'+"),
            ("'=1", "'=1"),
            ("\"=1", "\"=1"),
            ("{\"a\":-1}", "{\"a\":-1}"),
        ] {
            assert_eq!(safe(text.as_bytes()), expected.as_bytes(), "{text:?}");
        }
    }
}
