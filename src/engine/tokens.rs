//! The tokens of ClickHouse's SQL, as far as finding clauses needs them.

use std::collections::HashMap;

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
    /// Where each `$tag$` stands, in order, once one was met: looking for its end from every one that has none would take
    /// hours in a statement of many.
    tags: Option<HashMap<&'s str, Vec<usize>>>,
}

impl<'s> Tokens<'s> {
    /// Of this statement.
    pub(super) fn new(sql: &'s str) -> Self {
        Self {
            sql,
            at: 0,
            depth: 0,
            tags: None,
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

    /// Where the `$tag$…$tag$` that begins at `start` ends, if there is one.
    fn heredoc_end(&mut self, start: usize) -> Option<usize> {
        let sql = self.sql;
        let tag_end = start + 1 + sql[start + 1..].find('$')?;
        let tag = &sql[start..=tag_end];
        let places = self.tags.get_or_insert_with(|| tags(sql)).get(tag)?;
        let behind = places.partition_point(|&place| place <= tag_end);
        Some(places.get(behind)? + tag.len())
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
            '$' => self.heredoc_end(start).unwrap_or(start + 1),
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

/// Where each `$tag$` stands. None lies over another but by its dollar sign.
fn tags(sql: &str) -> HashMap<&str, Vec<usize>> {
    let mut tags: HashMap<&str, Vec<usize>> = HashMap::new();
    let signs = sql.match_indices('$').map(|(at, _)| at);
    for (start, end) in signs.clone().zip(signs.skip(1)) {
        let is_tag = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if sql[start + 1..end].bytes().all(is_tag) {
            tags.entry(&sql[start..=end]).or_default().push(start);
        }
    }
    tags
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        Tokens::new(sql).map(|token| token.text).collect()
    }

    #[test]
    fn a_heredoc_ends_with_its_own_tag() {
        for (sql, expected) in [
            ("$a$ ' $b$ $a$ x", &["$a$ ' $b$ $a$", "x"][..]),
            ("$$;$$;", &["$$;$$", ";"]),
            ("$$$$$", &["$$$$", "$"]),
            ("$a$a$ x", &["$", "a", "$", "a", "$", "x"]),
            ("$a$b$a$", &["$a$b$a$"]),
            ("$a $a$", &["$", "a", "$", "a", "$"]),
            ("$a$ $b$", &["$", "a", "$", "$", "b", "$"]),
            (
                "$\u{e9}$ $\u{e9}$",
                &["$", "\u{e9}", "$", "$", "\u{e9}", "$"],
            ),
        ] {
            assert_eq!(texts(sql), expected, "{sql}");
        }
    }

    #[test]
    fn many_tags_that_are_never_closed_are_read_once() {
        let sql: String = (0..1 << 19).map(|tag| format!("${tag}")).collect();
        assert_eq!(Tokens::new(&sql).count(), 2 << 19);
    }
}
