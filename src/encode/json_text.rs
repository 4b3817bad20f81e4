//! Whether a text is JSON that every reader takes.
//!
//! RFC 8259, and stricter where a reader refuses the whole file for one value, so that no visitor can make a file
//! unreadable. Each of these was tried with one such value in a line of NDJSON:
//!
//! | valid by the RFC | refused by | so here |
//! | --- | --- | --- |
//! | a surrogate escape without its pair, `"\ud800"` | DuckDB, pyarrow, Polars, serde_json | not JSON |
//! | more digits in front of the point than 127 bits hold | Polars | at most [`MAX_WHOLE_DIGITS`] |
//! | a number that no double holds, `1e309` | pyarrow, Polars, serde_json | not JSON |
//! | an exponent beyond 308 even of a zero, `0e309` | pyarrow | not JSON |
//! | nesting deeper than 127 | DuckDB, serde_json (in all, with the array and the object around it) | at most [`MAX_DEPTH`] |
//! | a key that an object has twice | pyarrow, and DuckDB and Polars while they guess a schema | JSON: a schema takes it |
//!
//! Integers beyond 64 bits stay as they are: `pandas.read_json` alone refuses them.
//!
//! None of serde_json, sonic-rs and simd-json was faster (`benches/valid`), and none is as strict about JSON.

use super::copy::Special;
use super::vector::{Block, Block16, STEP};

/// Deepest nesting of arrays and objects: with the array and the object around it 127, the most that DuckDB and serde_json
/// take. Fits the bits of the scan's stack.
pub(super) const MAX_DEPTH: u32 = 125;

/// Most digits in front of a number's point: 10^38 is less than 2^127.
const MAX_WHOLE_DIGITS: usize = 38;

/// Where a valid text has line breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineBreaks {
    /// Nowhere.
    None,
    /// Between tokens, in front or behind: nowhere else can they be.
    Some,
}

/// Whether a text is JSON that every reader takes, and whether it has line breaks. `None` if it isn't. The text's
/// UTF-8 is not checked.
pub(super) fn check(text: &[u8]) -> Option<LineBreaks> {
    let mut scan = Scan {
        text,
        at: 0,
        line_breaks: LineBreaks::None,
    };
    scan.document()?;
    Some(scan.line_breaks)
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
    line_breaks: LineBreaks,
}

impl Scan<'_> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' => {}
                b'\n' | b'\r' => self.line_breaks = LineBreaks::Some,
                _ => break,
            }
            self.at += 1;
        }
    }

    #[inline]
    fn eat(&mut self, token: &[u8]) -> Option<()> {
        self.text.get(self.at..)?.starts_with(token).then_some(())?;
        self.at += token.len();
        Some(())
    }

    /// One value with nothing but space around it. No recursion: a bit for each open array (0) or object (1).
    fn document(&mut self) -> Option<()> {
        let mut objects = 0u128;
        let mut depth = 0u32;
        'value: loop {
            self.space();
            match self.peek()? {
                b'"' => self.string()?,
                b'{' | b'[' if depth == MAX_DEPTH => return None,
                b'{' => {
                    self.at += 1;
                    objects = objects << 1 | 1;
                    depth += 1;
                    self.space();
                    if self.peek()? != b'}' {
                        self.key()?;
                        continue 'value;
                    }
                }
                b'[' => {
                    self.at += 1;
                    objects <<= 1;
                    depth += 1;
                    self.space();
                    if self.peek()? != b']' {
                        continue 'value;
                    }
                }
                b't' => self.eat(b"true")?,
                b'f' => self.eat(b"false")?,
                b'n' => self.eat(b"null")?,
                _ => self.number()?,
            }
            // Behind a value, or in front of what closes an empty array or object.
            loop {
                self.space();
                if depth == 0 {
                    return (self.at == self.text.len()).then_some(());
                }
                let in_object = objects & 1 == 1;
                match self.peek()? {
                    b',' => {
                        self.at += 1;
                        if in_object {
                            self.space();
                            self.key()?;
                        }
                        continue 'value;
                    }
                    b'}' if in_object => {}
                    b']' if !in_object => {}
                    _ => return None,
                }
                self.at += 1;
                objects >>= 1;
                depth -= 1;
            }
        }
    }

    /// A key and its colon.
    fn key(&mut self) -> Option<()> {
        if self.peek()? != b'"' {
            return None;
        }
        self.string()?;
        self.space();
        self.eat(b":")
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            let rest = self.text.get(self.at..)?;
            self.at += plain_prefix(rest);
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        match *self.text.get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
            b'u' => {
                let unit = self.code_unit()?;
                if (0xdc00..=0xdfff).contains(&unit) {
                    return None;
                }
                let high = (0xd800..=0xdbff).contains(&unit);
                if high && !(0xdc00..=0xdfff).contains(&self.code_unit()?) {
                    return None;
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// `\uXXXX`.
    fn code_unit(&mut self) -> Option<u32> {
        self.eat(b"\\u")?;
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        digits.iter().try_fold(0, |unit, &digit| {
            Some(unit << 4 | char::from(digit).to_digit(16)?)
        })
    }

    /// Skips digits and gives how many.
    #[inline]
    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let first = self.peek()?;
        let whole = self.digits();
        if whole == 0 || (whole > 1 && first == b'0') {
            return None;
        }
        if whole > MAX_WHOLE_DIGITS {
            return None;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return None;
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            let negative = self.peek() == Some(b'-');
            if negative || self.peek() == Some(b'+') {
                self.at += 1;
            }
            let exponent = self.at;
            if self.digits() == 0 {
                return None;
            }
            if !negative {
                let exponent =
                    self.text[exponent..self.at]
                        .iter()
                        .fold(0, |value: usize, digit| {
                            value
                                .saturating_mul(10)
                                .saturating_add(usize::from(digit - b'0'))
                        });
                if exponent > 308 {
                    return None;
                }
                // Fewer than 10^whole times 10^exponent: only from 10^308 on can it be too much for a double.
                if whole + exponent > 308 {
                    let number = std::str::from_utf8(&self.text[start..self.at]).ok()?;
                    if !number.parse::<f64>().ok()?.is_finite() {
                        return None;
                    }
                }
            }
        }
        Some(())
    }
}

/// How many bytes at the start of `text` are neither a quote, a backslash nor a control character.
#[inline(always)]
pub(super) fn plain_prefix(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(block) = Block16::first(&text[at..]) {
        let special = NeedsEscape::among(block).high_bits();
        if special != 0 {
            return at + special.trailing_zeros() as usize;
        }
        at += STEP;
    }
    let special = |&byte: &u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    let rest = &text[at..];
    at + rest.iter().position(special).unwrap_or(rest.len())
}

/// The bytes that cannot stand in a JSON string as they are.
pub(super) struct NeedsEscape;

impl Special for NeedsEscape {
    #[inline(always)]
    fn among<B: Block>(block: B) -> B {
        block
            .at_most(0x1f)
            .or(block.equals(b'"'))
            .or(block.equals(b'\\'))
    }
}

#[cfg(test)]
#[path = "json_text_tests.rs"]
mod tests;
