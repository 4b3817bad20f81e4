//! The reader of statements: its tokens are the text's own, and blanks and comments between them change nothing.

use rowspout::engine::fuzzing::{read, tokens};

/// A statement.
pub fn statement(input: &[u8]) {
    let Ok(sql) = std::str::from_utf8(input) else {
        return;
    };
    let found = tokens(sql);
    let mut end = 0;
    for &(start, text, _) in &found {
        assert!(start >= end && !text.is_empty());
        assert_eq!(sql.get(start..start + text.len()), Some(text));
        assert_skipped(&sql[end..start]);
        end = start + text.len();
    }
    assert_skipped(&sql[end..]);

    let read_so = read(sql);
    assert_eq!(read_so.is[2], found.is_empty());
    if let Some(at) = read_so.rows_at {
        assert!(sql.is_char_boundary(at) && at <= sql.len());
        assert!(!found.is_empty() && found[0].1.eq_ignore_ascii_case("INSERT"));
    }
    // A number sign and a blank begin a comment, and a shebang is one.
    if sql.contains('#') {
        return;
    }
    for separator in [
        " ",
        "\n-- ' FORMAT X ; (\n",
        " /* \" ; INTO OUTFILE /* ) */ $a$ */ ",
    ] {
        let texts: Vec<&str> = found.iter().map(|token| token.1).collect();
        let joined = format!("{separator}{}", texts.join(separator));
        let again = tokens(&joined);
        let same = again
            .iter()
            .map(|token| (token.1, token.2))
            .eq(found.iter().map(|token| (token.1, token.2)));
        assert!(same, "{found:?} {again:?}");
        let mut read_again = read(&joined);
        assert!(read_again.rows_at.is_some() == read_so.rows_at.is_some());
        read_again.rows_at = read_so.rows_at;
        assert_eq!(read_again, read_so);
    }
}

/// What stands between tokens is blank or a comment.
fn assert_skipped(text: &str) {
    let text = text.trim_start();
    let comments = ["--", "#!", "# ", "/*"];
    assert!(
        text.is_empty() || comments.iter().any(|mark| text.starts_with(mark)),
        "{text:?}"
    );
}
