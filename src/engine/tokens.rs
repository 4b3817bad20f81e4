//! The tokens of ClickHouse's SQL, as far as finding clauses needs them.

/// A word, a quoted text, a number or one other character.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'s> {
    /// The token as it stands.
    pub(super) text: &'s str,
    /// Where it begins, in bytes.
    pub(super) start: usize,
    /// How many parentheses, brackets and braces are open around it.
    pub(super) depth: usize,
}

impl Token<'_> {
    /// Whether it is this word, in any case.
    pub(super) fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }

    /// Whether it is a word without quotes.
    pub(super) fn is_word(&self) -> bool {
        self.text
            .starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    }
}

/// The tokens of a statement, without blanks and comments. Never fails: what is not closed ends with the text.
pub(super) struct Tokens<'s> {
    sql: &'s str,
    at: usize,
    depth: usize,
}

impl<'s> Tokens<'s> {
    /// Of this statement.
    pub(super) fn new(sql: &'s str) -> Self {
        Self {
            sql,
            at: 0,
            depth: 0,
        }
    }

    /// Where the quoted text that begins at `start` ends.
    fn quoted_end(&self, start: usize, quote: u8) -> usize {
        let bytes = self.sql.as_bytes();
        let mut at = start + 1;
        while at < bytes.len() {
            match bytes[at] {
                b'\\' => at += 1,
                byte if byte == quote => {
                    if bytes.get(at + 1) != Some(&quote) {
                        return at + 1;
                    }
                    // A quote within, doubled.
                    at += 1;
                }
                _ => {}
            }
            at += 1;
        }
        bytes.len()
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            let rest = &self.sql[self.at..];
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            let skipped = if trimmed.starts_with("--")
                || trimmed.starts_with("#!")
                || trimmed.starts_with("# ")
            {
                trimmed.find('\n').unwrap_or(trimmed.len())
            } else if trimmed.starts_with("/*") {
                comment_length(trimmed)
            } else {
                return;
            };
            self.at += skipped;
        }
    }
}

/// Length of the comment that `text` begins with; comments nest.
fn comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    let bytes = text.as_bytes();
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

impl<'s> Iterator for Tokens<'s> {
    type Item = Token<'s>;

    fn next(&mut self) -> Option<Token<'s>> {
        self.skip_blanks_and_comments();
        let start = self.at;
        let rest = &self.sql[start..];
        let first = rest.chars().next()?;
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = match first {
            '\'' | '"' | '`' => self.quoted_end(start, first as u8),
            c if word(c) => start + rest.find(|c| !word(c)).unwrap_or(rest.len()),
            '$' => heredoc_end(rest).map_or(start + 1, |length| start + length),
            c => start + c.len_utf8(),
        };
        if matches!(first, ')' | ']' | '}') {
            self.depth = self.depth.saturating_sub(1);
        }
        let token = Token {
            text: &self.sql[start..end],
            start,
            depth: self.depth,
        };
        if matches!(first, '(' | '[' | '{') {
            self.depth += 1;
        }
        self.at = end;
        Some(token)
    }
}

/// Length of the `$tag$…$tag$` that `text` begins with, if it does.
fn heredoc_end(text: &str) -> Option<usize> {
    let tag_end = text[1..].find('$')? + 2;
    let tag = &text[..tag_end];
    tag[1..tag_end - 1]
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || c == '_')
        .then(|| text[tag_end..].find(tag).map(|at| tag_end + at + tag_end))?
}
