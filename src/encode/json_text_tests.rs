#![allow(clippy::unwrap_used)] // a test that cannot go on fails

use proptest::prelude::*;

use super::*;

fn nested(depth: usize, open: &str, inside: &str, close: &str) -> String {
    open.repeat(depth) + inside + &close.repeat(depth)
}

#[test]
fn texts_that_are_json() {
    for text in [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "7",
        "-12.5e-7",
        "1E+2",
        "1e308",
        "0e308",
        "1e-99999999999",
        "\"\"",
        "\"a\\\"b\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"",
        "\"\\ud83d\\ude00\"",
        "\"\\uD83D\\uDE00\"",
        "\"\\u0000\"",
        "\"\u{7f}\u{2028}\u{1f600}\"",
        "[]",
        "{}",
        "[ ]",
        "{ }",
        "[[],{},[{}]]",
        "{\"\":{\"a\":[1,2,{\"b\":null}]}}",
        "{\"a\":1,\"a\":2}",
        " \t[1 , 2 ]\t ",
        "9007199254740993",
        "18446744073709551615",
        "-9223372036854775808",
        "9223372036854775808",
        "18446744073709551616",
        "-9223372036854775809",
        "99999999999999999999999999999999999999",
        "18446744073709551616.5",
        "0.00000000000000000000000000000000000000000000000001",
        "1.7976931348623157e308",
        "17976931348623157e292",
    ] {
        assert_eq!(check(text.as_bytes()), Some(LineBreaks::None), "{text}");
        serde_json::from_str::<serde_json::Value>(text).unwrap();
    }
    assert!(check(nested(125, "[", "", "]").as_bytes()).is_some());
    assert!(check(nested(125, "{\"a\":", "1", "}").as_bytes()).is_some());
    assert!(check(nested(31, "[{\"a\":", "1", "}]").as_bytes()).is_some());
}

#[test]
fn texts_that_are_not() {
    for text in [
        "",
        " ",
        "\n",
        "nul",
        "nulll",
        "True",
        "tru e",
        "01",
        "-01",
        "00",
        "1.",
        ".5",
        "-",
        "+1",
        "1e",
        "1e+",
        "1.e5",
        "0x10",
        "NaN",
        "Infinity",
        "1 2",
        "1,2",
        "\"",
        "\"a",
        "\"\\\"",
        "\"\\x41\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\u+123\"",
        "\"a\nb\"",
        "\"a\tb\"",
        "\"a\0b\"",
        "\"\u{1f}\"",
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[,]",
        "[1 2]",
        "{",
        "}",
        "{]",
        "[}",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":}",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{,}",
        "{a:1}",
        "{1:1}",
        "{\"a\" 1}",
        "{\"a\":1:2}",
        "[\"a\":1]",
        "{\"a\"}",
        "{}{}",
        "[]]",
        "{}}",
        "'a'",
        "// a",
        "/**/1",
        "\u{feff}{}",
        "{}\0",
        "\u{a0}1",
        "\u{c}1",
        "\u{b}1",
        "é",
        "{\"a\":1}x",
    ] {
        assert_eq!(check(text.as_bytes()), None, "{text:?}");
        serde_json::from_str::<serde_json::Value>(text).unwrap_err();
    }
}

#[test]
fn json_that_some_reader_refuses() {
    for text in [
        "1e309",
        "-1e309",
        "0e309",
        "1e999",
        "1e99999999999999999999999",
        "0.001e310",
        "1.8e308",
        "17976931348623159e292",
        "100000000000000000000000000000000000000",
        "-999999999999999999999999999999999999999e-5",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud800\\ud800\"",
        "\"\\ud800a\"",
        "\"\\udbff\\udbff\"",
    ] {
        assert_eq!(check(text.as_bytes()), None, "{text:?}");
    }
    assert!(check(nested(126, "[", "", "]").as_bytes()).is_none());
    assert!(check(nested(126, "{\"a\":", "1", "}").as_bytes()).is_none());
    // No recursion: any depth is answered.
    assert!(check(nested(1_000_000, "[", "", "]").as_bytes()).is_none());
}

#[test]
fn line_breaks_between_tokens_are_noticed() {
    for text in [
        "\n1",
        "1\r\n",
        "[\n]",
        "{\r}",
        "[1,\n2]",
        "{\"a\"\n:\n1\n,\"b\":2}",
    ] {
        assert_eq!(check(text.as_bytes()), Some(LineBreaks::Some), "{text:?}");
    }
    for text in ["[ ]", "\"\\n\"", "{\"a\":\t1}"] {
        assert_eq!(check(text.as_bytes()), Some(LineBreaks::None), "{text:?}");
    }
}

#[test]
fn a_special_byte_is_found_wherever_it_stands() {
    for len in 0..40 {
        for fill in [b'a', 0x20, 0x21, 0x7f, 0x80, 0xa2, 0xdc, 0xff] {
            let mut text = vec![fill; len];
            assert_eq!(plain_prefix(&text), len);
            for at in 0..len {
                for special in (0..0x20).chain([b'"', b'\\']) {
                    text[at] = special;
                    assert_eq!(plain_prefix(&text), at);
                }
                text[at] = fill;
            }
        }
    }
}

/// Pieces that JSON is made of, and some that it isn't.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        6 => prop::sample::select(vec!["{", "}", "[", "]", ",", ":", "\"a\"", "\"\"", "1", "-2.5", "null", "true", " "]),
        1 => prop::sample::select(vec![
            "\n", "\r", "\t", "\"\\n\"", "\"\\u0041\"", "\"\\ud83d\\ude00\"", "\"\\ud800\"", "0", "01", "1e5", "1e400",
            "\"é\"", "\"", "\\", "fals", "-", ".", "e", "\u{b}", "99999999999999999999", "nan",
        ]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Valid JSON, with space between tokens.
fn json() -> impl Strategy<Value = String> {
    let space = || prop::sample::select(vec!["", "", "", " ", "\n", "\r\n\t"]);
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        (-1e18f64..1e18).prop_map(|n| serde_json::to_string(&n).unwrap()),
        ".*".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(6, 40, 5, move |inner| {
        prop_oneof![
            (
                prop::collection::vec((inner.clone(), space()), 0..5),
                space()
            )
                .prop_map(|(items, first)| {
                    let items: Vec<_> = items
                        .into_iter()
                        .map(|(item, s)| format!("{s}{item}{s}"))
                        .collect();
                    format!("[{first}{}]", items.join(","))
                }),
            (prop::collection::vec((".*", inner, space()), 0..5), space()).prop_map(
                |(items, first)| {
                    let items: Vec<_> = items
                        .into_iter()
                        .map(|(key, item, s)| {
                            format!(
                                "{s}{}{s}:{s}{item}{s}",
                                serde_json::to_string(&key).unwrap()
                            )
                        })
                        .collect();
                    format!("{{{first}{}}}", items.join(","))
                }
            ),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn what_it_takes_serde_json_takes_and_the_rest_is_documented(text in pieces()) {
        let taken = check(text.as_bytes());
        let oracle = serde_json::from_str::<serde_json::Value>(&text);
        let stricter = text.contains("99999999999999999999");
        if taken.is_some() || !stricter {
            prop_assert_eq!(taken.is_some(), oracle.is_ok());
        }
    }

    #[test]
    fn json_is_taken_and_its_line_breaks_are_noticed(text in json()) {
        let expected = if text.contains(['\n', '\r']) { LineBreaks::Some } else { LineBreaks::None };
        prop_assert_eq!(check(text.as_bytes()), Some(expected));
    }

    #[test]
    fn bytes_of_any_kind_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
        let taken = check(&bytes);
        if let Ok(text) = std::str::from_utf8(&bytes) {
            prop_assert_eq!(taken.is_some(), serde_json::from_str::<serde_json::Value>(text).is_ok());
        }
    }
}
