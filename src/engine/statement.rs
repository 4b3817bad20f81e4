//! What this interface must know about a statement before the library runs it, read from its tokens.
//!
//! The library's parser has the last word on every statement. This reader only finds where the rows of an `INSERT`
//! begin, which format was asked for, whether a `SELECT` can stream, and the few statements that are not the
//! library's to run: `KILL QUERY`, because query ids are this interface's, and files of the client's side.

use super::tokens::{Token, Tokens};

/// The format of rows behind the word `VALUES`.
pub(crate) const VALUES: &str = "Values";

/// Settings that give a result more than its rows, or its format a frame that it has not otherwise.
pub(crate) const WHOLE_SETTINGS: [&str; 3] = [
    "extremes",
    "output_format_json_array_of_rows",
    "output_format_binary_encode_types_in_binary_format",
];

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
    /// Whether the result must not be formatted block by block: it has totals, or one of [`WHOLE_SETTINGS`].
    pub(crate) whole: bool,
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
        let mut ends = tokens;
        if tokens.first().is_some_and(|token| token.is("INSERT"))
            && let Some((insert, used)) = read_insert(sql, tokens)
        {
            // What follows is data, not SQL; but the library takes `VALUES` as SQL, and what is behind them.
            tokens = &tokens[..used];
            if insert.format != VALUES {
                ends = tokens;
            }
            kind = Kind::InsertRows(insert);
        }
        let is_insert = tokens.first().is_some_and(|token| token.is("INSERT"));
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
            // Tables may have these names where the other statement has the clause.
            client_file: if is_insert {
                pair("FROM", "INFILE")
            } else {
                pair("INTO", "OUTFILE")
            },
            whole: pair("WITH", "TOTALS")
                || tokens
                    .iter()
                    .any(|token| WHOLE_SETTINGS.iter().any(|name| token.is(name))),
            empty: tokens.is_empty(),
            several: ends
                .iter()
                .position(|token| token.is(";"))
                .is_some_and(|at| ends[at..].iter().any(|token| !token.is(";"))),
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
                    format: VALUES.into(),
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

/// The value of a quoted literal.
fn unquote(literal: &str) -> String {
    let inner = literal.strip_prefix('\'').unwrap_or(literal);
    unescape(
        &inner
            .strip_suffix('\'')
            .unwrap_or(inner)
            .replace("''", "\\'"),
    )
}

/// Takes the backslashes off that occur in ids; control characters do not.
pub(crate) fn unescape(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => value.extend(characters.next()),
            other => value.push(other),
        }
    }
    value
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)] // a failing test may panic
    use super::*;

    fn insert(sql: &str) -> (String, String, &str) {
        match Statement::read(sql).kind {
            Kind::InsertRows(insert) => (insert.sql, insert.format, &sql[insert.rows_at..]),
            kind => panic!("{sql}: {kind:?}"),
        }
    }

    #[test]
    fn the_rows_of_an_insert_begin_behind_its_format() {
        for (sql, statement, format, rows) in [
            (
                "INSERT INTO t FORMAT CSV\n1\n",
                "INSERT INTO t ",
                "CSV",
                "1\n",
            ),
            ("insert into t format CSV 1", "insert into t ", "CSV", "1"),
            (
                "INSERT INTO t FORMAT TSV \r\n\n1",
                "INSERT INTO t ",
                "TSV",
                "\n1",
            ),
            ("INSERT INTO t FORMAT CSV", "INSERT INTO t ", "CSV", ""),
            (
                "INSERT INTO t VALUES (1)",
                "INSERT INTO t ",
                "Values",
                " (1)",
            ),
            (
                "INSERT INTO values VALUES (1)",
                "INSERT INTO values ",
                "Values",
                " (1)",
            ),
            (
                "INSERT INTO db.format FORMAT CSV 1",
                "INSERT INTO db.format ",
                "CSV",
                "1",
            ),
            (
                "INSERT INTO `a b`.\"c`d\" (format, `select`) FORMAT CSV 1",
                "INSERT INTO `a b`.\"c`d\" (format, `select`) ",
                "CSV",
                "1",
            ),
            (
                "INSERT INTO FUNCTION file('x FORMAT y', CSV) FORMAT TSV 1",
                "INSERT INTO FUNCTION file('x FORMAT y', CSV) ",
                "TSV",
                "1",
            ),
            (
                "/* FORMAT */ INSERT -- FORMAT\nINTO t FORMAT CSV\nSELECT",
                "/* FORMAT */ INSERT -- FORMAT\nINTO t ",
                "CSV",
                "SELECT",
            ),
            (
                "INSERT INTO t SETTINGS a = 1 FORMAT CSV 1",
                "INSERT INTO t SETTINGS a = 1 ",
                "CSV",
                "1",
            ),
            (
                "INSERT INTO t FORMAT CSV SETTINGS a = 1, b = 'x'\n1",
                "INSERT INTO t  SETTINGS a = 1, b = 'x'",
                "CSV",
                "1",
            ),
        ] {
            let expected = (statement.to_owned(), format.to_owned(), rows);
            assert_eq!(insert(sql), expected, "{sql}");
        }
    }

    #[test]
    fn an_insert_that_selects_has_no_rows_of_its_own() {
        for sql in [
            "INSERT INTO t SELECT 1 FORMAT CSV",
            "INSERT INTO t (a) SELECT 1",
            "INSERT INTO t (SELECT 1)",
            "INSERT INTO t WITH 1 AS x SELECT x",
            "INSERT INTO t",
            "INSERT",
        ] {
            assert_eq!(Statement::read(sql).kind, Kind::Other, "{sql}");
        }
    }

    #[test]
    fn only_the_statements_own_format_counts() {
        for (sql, format) in [
            ("SELECT 1 FORMAT CSV", Some("CSV")),
            ("SELECT 1 FORMAT CSV SETTINGS a = 1;", Some("CSV")),
            ("SELECT 1 -- FORMAT CSV", None),
            ("SELECT 'FORMAT CSV', $a$ FORMAT CSV $a$", None),
            ("SELECT * FROM (SELECT 1 FORMAT CSV)", None),
            ("SELECT `format` FROM t", None),
        ] {
            assert_eq!(Statement::read(sql).format.as_deref(), format, "{sql}");
        }
    }

    #[test]
    fn files_of_the_client_are_told_from_tables_of_that_name() {
        for (sql, client_file) in [
            ("SELECT 1 INTO OUTFILE 'x'", true),
            ("SELECT 1 INTO /* */ outfile 'x'", true),
            ("INSERT INTO t FROM INFILE 'x' FORMAT CSV", true),
            ("INSERT INTO outfile FORMAT CSV", false),
            ("SELECT * FROM infile", false),
            ("SELECT 'INTO OUTFILE'", false),
        ] {
            assert_eq!(Statement::read(sql).client_file, client_file, "{sql}");
        }
    }

    #[test]
    fn one_statement_is_told_from_several() {
        for (sql, several) in [
            ("SELECT 1", false),
            ("SELECT 1;", false),
            ("SELECT 1;; -- end", false),
            ("SELECT ';' /* ; */", false),
            ("SELECT 1; SELECT 2", true),
            ("INSERT INTO t VALUES (';'), ('a\\';');", false),
            ("INSERT INTO t VALUES (1); DROP TABLE t", true),
            ("INSERT INTO t FORMAT CSV\n1;2", false),
        ] {
            assert_eq!(Statement::read(sql).several, several, "{sql}");
        }
    }

    #[test]
    fn a_kill_of_one_query_is_read_and_others_are_not() {
        let kill = |sql: &str| match Statement::read(sql).kind {
            Kind::Kill(kill) => Some((kill.query_id, kill.wait)),
            _ => None,
        };
        let literal = |id: &str, wait| Some((Text::Literal(id.to_owned()), wait));
        for (sql, expected) in [
            ("KILL QUERY WHERE query_id = 'x'", literal("x", false)),
            (
                "kill query where query_id='it\\'s' sync;",
                literal("it's", true),
            ),
            (
                "KILL QUERY WHERE query_id = '''' ASYNC FORMAT JSON",
                literal("'", false),
            ),
            (
                "KILL QUERY WHERE query_id = {id:String}",
                Some((Text::Parameter("id".to_owned()), false)),
            ),
            ("KILL QUERY WHERE query_id = 'x' OR 1", None),
            ("KILL QUERY WHERE user = 'x'", None),
            ("KILL MUTATION WHERE table = 'x'", None),
        ] {
            assert_eq!(kill(sql), expected, "{sql}");
        }
    }

    #[test]
    fn nothing_that_is_cut_or_strange_panics() {
        let sql = "INSERT INTO `é`.\"x\" (a) /* /* ☃ */ */ SETTINGS a = 'ü\\' , b = $t$ ; $t$ FORMAT CSV \
                   SETTINGS c = 1 \r\n{\u{0}";
        for (at, _) in sql.char_indices() {
            Statement::read(&sql[..at]);
            Statement::read(&sql[at..]);
        }
    }
}
