//! What this interface must know about a statement before the library runs it, read from its tokens.
//!
//! The library's parser has the last word on every statement. This reader only finds where the rows of an `INSERT`
//! begin, which format was asked for, whether a `SELECT` can stream, and the few statements that are not the
//! library's to run: `KILL QUERY`, because query ids are this interface's, and files of the client's side.

/// What kind of statement it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `SELECT` in any of its beginnings: its result can be fetched block by block.
    Select,
    /// `INSERT` whose rows follow the statement.
    InsertRows(InsertRows),
    /// `KILL QUERY WHERE query_id = …` for one query.
    Kill(Kill),
    /// Anything else runs whole.
    Other,
}

/// An `INSERT` whose rows follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InsertRows {
    /// The statement without `FORMAT` and rows.
    pub(crate) sql: String,
    /// The format of the rows; `Values` where the statement says `VALUES`.
    pub(crate) format: String,
    /// Where the rows begin in the text, in bytes; the text's length if they begin after it.
    pub(crate) rows_at: usize,
}

/// A `KILL QUERY` for one query id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    /// The id, or the name of the parameter that holds it.
    pub(crate) query_id: Text,
    /// Whether to wait for the query's end.
    pub(crate) wait: bool,
}

/// A string literal's value, or a parameter's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// `'…'`
    Literal(String),
    /// `{name:String}`
    Parameter(String),
}

/// A statement, as far as this interface reads it.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// What kind it is.
    pub(crate) kind: Kind,
    /// The format named by `FORMAT`, if any.
    pub(crate) format: Option<String>,
    /// Whether it reads or writes a file on the client's side, which has none here.
    pub(crate) client_file: bool,
    /// Whether the result has rows beside its rows, which must not be formatted block by block.
    pub(crate) totals: bool,
    /// Whether there is nothing but blanks and comments.
    pub(crate) empty: bool,
    /// Whether a second statement follows.
    pub(crate) several: bool,
}

impl Statement {
    /// Reads a statement.
    pub(crate) fn read(sql: &str) -> Self {
        let tokens: Vec<Token<'_>> = Tokens::new(sql).collect();
        let mut kind = match tokens.iter().find(|token| !token.is("(")) {
            Some(first) if ["SELECT", "WITH", "FROM"].iter().any(|word| first.is(word)) => {
                Kind::Select
            }
            Some(first) if first.is("KILL") => read_kill(&tokens).map_or(Kind::Other, Kind::Kill),
            _ => Kind::Other,
        };
        let mut tokens = &tokens[..];
        if tokens.first().is_some_and(|token| token.is("INSERT"))
            && let Some((insert, used)) = read_insert(sql, tokens)
        {
            kind = Kind::InsertRows(insert);
            // What follows is data, not SQL.
            tokens = &tokens[..used];
        }
        let pair = |first: &str, second: &str| {
            tokens
                .windows(2)
                .any(|pair| pair[0].is(first) && pair[1].is(second))
        };
        let format = tokens
            .windows(2)
            .rfind(|pair| pair[0].depth == 0 && pair[0].is("FORMAT") && pair[1].is_word())
            .map(|pair| pair[1].text.to_owned());
        Self {
            format,
            client_file: pair("INTO", "OUTFILE") || pair("FROM", "INFILE"),
            totals: pair("WITH", "TOTALS") || tokens.iter().any(|token| token.is("extremes")),
            empty: tokens.is_empty(),
            several: tokens
                .iter()
                .position(|token| token.is(";"))
                .is_some_and(|at| tokens[at..].iter().any(|token| !token.is(";"))),
            kind,
        }
    }
}

/// Reads `KILL QUERY WHERE query_id = X [SYNC|ASYNC] [FORMAT F]`.
fn read_kill(tokens: &[Token<'_>]) -> Option<Kill> {
    let mut tokens = tokens.iter().peekable();
    for word in ["KILL", "QUERY", "WHERE", "query_id", "="] {
        tokens.next().filter(|token| token.is(word))?;
    }
    let value = tokens.next()?;
    let query_id = if value.text.starts_with('\'') {
        Text::Literal(unquote(value.text))
    } else if value.is("{") {
        let name = tokens.next().filter(|token| token.is_word())?;
        tokens.next().filter(|token| token.is(":"))?;
        tokens.next().filter(|token| token.is("String"))?;
        tokens.next().filter(|token| token.is("}"))?;
        Text::Parameter(name.text.to_owned())
    } else {
        return None;
    };
    let wait = tokens.next_if(|token| token.is("SYNC")).is_some();
    if !wait {
        let _ = tokens.next_if(|token| token.is("ASYNC"));
    }
    if tokens.next_if(|token| token.is("FORMAT")).is_some() {
        tokens.next()?;
    }
    let _ = tokens.next_if(|token| token.is(";"));
    tokens.next().is_none().then_some(Kill { query_id, wait })
}

/// Finds the rows of an `INSERT` that has some; also says how many tokens the statement itself has.
fn read_insert(sql: &str, tokens: &[Token<'_>]) -> Option<(InsertRows, usize)> {
    let mut at = 1;
    for optional in ["INTO", "TABLE", "FUNCTION"] {
        at += usize::from(tokens.get(at).is_some_and(|token| token.is(optional)));
    }
    // The name, so that a table may be called `values`: word, or word.word.
    at += 1;
    if tokens.get(at).is_some_and(|token| token.is(".")) {
        at += 2;
    }
    while let Some(token) = tokens.get(at) {
        if token.depth == 0 {
            if ["SELECT", "WITH", "FROM", "WATCH", "EXPLAIN"]
                .iter()
                .any(|word| token.is(word))
            {
                return None;
            }
            if token.is("VALUES") {
                let end = token.start + token.text.len();
                let insert = InsertRows {
                    sql: sql[..token.start].to_owned(),
                    format: "Values".into(),
                    rows_at: end,
                };
                return Some((insert, at + 1));
            }
            if token.is("FORMAT") {
                let name = tokens.get(at + 1).filter(|token| token.is_word())?;
                let after = name.start + name.text.len();
                let (settings, end) = read_settings(sql, &tokens[at + 2..]).unwrap_or(("", after));
                let separator = if settings.is_empty() { "" } else { " " };
                let insert = InsertRows {
                    sql: format!("{}{separator}{settings}", &sql[..token.start]),
                    format: name.text.to_owned(),
                    rows_at: skip_to_rows(sql, end),
                };
                return Some((insert, at + 2));
            }
        }
        // `INSERT INTO t (SELECT …)` is a select in parentheses; a column list is not.
        if token.depth == 1 && (token.is("SELECT") || token.is("WITH")) && tokens[at - 1].is("(") {
            return None;
        }
        at += 1;
    }
    None
}

/// Reads `SETTINGS name = value, …` behind a format's name, and where it ends.
fn read_settings<'s>(sql: &'s str, tokens: &[Token<'_>]) -> Option<(&'s str, usize)> {
    let start = tokens.first().filter(|token| token.is("SETTINGS"))?.start;
    let mut at = 1;
    loop {
        tokens.get(at).filter(|token| token.is_word())?;
        tokens.get(at + 1).filter(|token| token.is("="))?;
        let value = tokens.get(at + 2)?;
        let end = value.start + value.text.len();
        if !tokens.get(at + 3).is_some_and(|token| token.is(",")) {
            return Some((&sql[start..end], end));
        }
        at += 4;
    }
}

/// ClickHouse's rule: rows begin after the first line feed behind the format, or after the blanks if there is none.
fn skip_to_rows(sql: &str, end: usize) -> usize {
    let rest = &sql[end..];
    let rest = rest.strip_prefix(';').unwrap_or(rest);
    let rest = rest.trim_start_matches([' ', '\t', '\x0c']);
    let rest = rest.strip_prefix('\r').unwrap_or(rest);
    let rest = rest.strip_prefix('\n').unwrap_or(rest);
    sql.len() - rest.len()
}

/// The value of a quoted literal, with the escapes that occur in ids.
fn unquote(literal: &str) -> String {
    let inner = literal.trim_matches('\'');
    let mut value = String::with_capacity(inner.len());
    let mut characters = inner.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => value.extend(characters.next()),
            '\'' => {
                let _ = characters.next_if_eq(&'\'');
                value.push('\'');
            }
            other => value.push(other),
        }
    }
    value
}

/// A word, a quoted text, a number or one other character.
#[derive(Clone, Copy, Debug)]
struct Token<'s> {
    text: &'s str,
    start: usize,
    /// How many parentheses, brackets and braces are open around it.
    depth: usize,
}

impl Token<'_> {
    fn is(&self, word: &str) -> bool {
        self.text.eq_ignore_ascii_case(word)
    }

    fn is_word(&self) -> bool {
        self.text
            .starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    }
}

/// The tokens of a statement, without blanks and comments. Never fails: what is not closed ends with the text.
struct Tokens<'s> {
    sql: &'s str,
    at: usize,
    depth: usize,
}

impl<'s> Tokens<'s> {
    fn new(sql: &'s str) -> Self {
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
                byte if byte == quote => return at + 1,
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
