//! Over HTTP/1.1: smuggling, slow and oversized heads, paths, methods, hosts and keys.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::AsyncWriteExt as _;

use super::{EXPORT, Target, read, statuses};

/// What a smuggler wants to be taken for a request of its own.
const SMUGGLED: &str = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

/// A case: what it is, its bytes, and the statuses of all answers on its connection.
type Case = (String, Vec<u8>, Vec<u16>);

fn case(name: &str, bytes: impl Into<Vec<u8>>, answers: &[u16]) -> Case {
    (name.to_owned(), bytes.into(), answers.to_vec())
}

/// A request for `/healthz` with header lines.
fn with(headers: &str) -> String {
    format!("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")
}

/// A request for a target as it is.
fn of(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

/// An export with an Authorization header of this value.
fn authorized(value: &[u8]) -> Vec<u8> {
    let head = format!("GET {EXPORT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: ");
    [head.as_bytes(), value, b"\r\n\r\n"].concat()
}

/// Sends all cases at once; each connection ends with exactly its answers, and none of them shows what only `/metrics` says.
async fn play(target: &Target, cases: &[Case]) {
    let sent = cases.iter().map(|(_, bytes, _)| target.send(bytes));
    let answers = join_all(sent).await;
    let mut wrong = Vec::new();
    for ((name, _, expected), answer) in cases.iter().zip(answers) {
        let text = String::from_utf8_lossy(&answer);
        if statuses(&answer) != *expected || text.contains("rowspout_exports_running") {
            wrong.push(format!("{name}: not {expected:?} but {text:.200?}"));
        }
        // Every refusal is the contract's, however it came about.
        if expected.last().is_some_and(|status| *status >= 400) {
            let lower = text.to_lowercase();
            assert!(lower.contains("x-export-id: exp_"), "{name}: {text}");
            assert!(lower.contains("\"error\":{\"code\":"), "{name}: {text}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_smuggled_behind_a_request() {
    let target = Target::start().await;
    let body = |headers: &str, body: &str| {
        format!("GET /healthz HTTP/1.1\r\nHost: x\r\n{headers}\r\n{body}{SMUGGLED}")
    };
    let cases = [
        // Read by its Transfer-Encoding, and the connection is closed behind it.
        case(
            "length and chunks",
            body(
                "Content-Length: 40\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
            &[200],
        ),
        case(
            "chunks and length",
            body(
                "Transfer-Encoding: chunked\r\nContent-Length: 40\r\n",
                "0\r\n\r\n",
            ),
            &[200],
        ),
        case(
            "length that covers the rest",
            body(&format!("Content-Length: {}\r\n", SMUGGLED.len()), ""),
            &[200],
        ),
        case(
            "two lengths",
            body("Content-Length: 0\r\nContent-Length: 35\r\n", ""),
            &[400],
        ),
        case(
            "two lengths in one",
            body("Content-Length: 0, 35\r\n", ""),
            &[400],
        ),
        case(
            "length with a sign",
            body("Content-Length: +0\r\n", ""),
            &[400],
        ),
        case(
            "negative length",
            body("Content-Length: -1\r\n", ""),
            &[400],
        ),
        case(
            "length in hexadecimal",
            body("Content-Length: 0x0\r\n", ""),
            &[400],
        ),
        case(
            "length without digits",
            body("Content-Length: \r\n", ""),
            &[400],
        ),
        case(
            "length beyond all numbers",
            body("Content-Length: 18446744073709551616\r\n", ""),
            &[400],
        ),
        case(
            "a space before the colon",
            body("Content-Length : 35\r\n", ""),
            &[400],
        ),
        case(
            "an encoding that is none",
            body("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
            &[400],
        ),
        case(
            "identity",
            body("Transfer-Encoding: identity\r\n", ""),
            &[400],
        ),
        case(
            "chunks inside another coding",
            body("Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"),
            &[400],
        ),
        case(
            "a space before the colon of an encoding",
            body("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
            &[400],
        ),
        case(
            "an encoding behind a control character",
            body("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"),
            &[400],
        ),
        case(
            "chunk of no size",
            body("Transfer-Encoding: chunked\r\n", "\r\n\r\n"),
            &[200],
        ),
        case(
            "chunk size with letters",
            body("Transfer-Encoding: chunked\r\n", "zz\r\n\r\n"),
            &[200],
        ),
        case(
            "negative chunk size",
            body("Transfer-Encoding: chunked\r\n", "-1\r\n\r\n"),
            &[200],
        ),
        case(
            "chunk size beyond all numbers",
            body("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n"),
            &[200],
        ),
        case(
            "chunk longer than its size",
            body("Transfer-Encoding: chunked\r\n", "1\r\nabc\r\n0\r\n\r\n"),
            &[200],
        ),
        case(
            "chunk extension without end",
            body(
                "Transfer-Encoding: chunked\r\n",
                &format!("1;{}", "a".repeat(100_000)),
            ),
            &[200],
        ),
        case(
            "a folded header",
            with("X-A: b\r\n Content-Length: 35\r\n"),
            &[400],
        ),
        case(
            "a folded first header",
            "GET /healthz HTTP/1.1\r\n Host: x\r\n\r\n",
            &[400],
        ),
        case(
            "a lone carriage return",
            with("X-A: b\rContent-Length: 35\r\n"),
            &[400],
        ),
        // RFC 9112, 2.2: a lone line feed may end a line. It does so in every line alike.
        case(
            "line feeds alone",
            "GET /healthz HTTP/1.1\nHost: x\nConnection: close\n\n",
            &[200],
        ),
        case("NUL in a value", with("X-A: b\0c\r\n"), &[400]),
        case("NUL in a name", with("X\0A: b\r\n"), &[400]),
        case("a header without a name", with(": b\r\n"), &[400]),
        case(
            "a header without a colon",
            with("Content-Length\r\n"),
            &[400],
        ),
        case("a name that is not ASCII", with("X-\u{e9}: b\r\n"), &[400]),
        case("HTTP/0.9", "GET /healthz\r\n\r\n", &[400]),
        case(
            "HTTP/1.2",
            "GET /healthz HTTP/1.2\r\nHost: x\r\n\r\n",
            &[400],
        ),
        case("HTTP/3", "GET /healthz HTTP/3.0\r\nHost: x\r\n\r\n", &[400]),
        case(
            "chunks in HTTP/1.0",
            "GET /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            &[400],
        ),
        case(
            "an upgrade",
            with("Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
            &[200],
        ),
        case(
            "a TLS handshake",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(),
            &[400],
        ),
    ];
    play(&target, &cases).await;
    // What may follow is answered, so the cases above could have been.
    let two = format!("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n{}", of("/metrics"));
    assert_eq!(statuses(&target.send(two.as_bytes()).await), [200, 200]);
    target.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_methods_and_hosts_lead_nowhere_else() {
    let target = Target::start().await;
    let mut cases = Vec::new();
    for path in [
        "/../etc/passwd",
        "/api/websites/../../healthz",
        "/api/websites/site_demo/../site_demo/export",
        "/%2e%2e/healthz",
        "/%2E%2E%2Fhealthz",
        "//healthz",
        "/./healthz",
        "/healthz/",
        "/healthz/..",
        "/healthz;x=1",
        "/healthz%00",
        "/healthz%20",
        "/HEALTHZ",
        "/\\healthz",
        "/api//websites/site_demo/export",
        "/api/websites//export",
        "/api/websites/site_demo%2fexport",
        "/api/websites/site_demo%00/export",
        "/api/websites/site_%0d%0aX-Injected:%20yes/export",
        "/api/websites/site_'%20OR%201=1/export",
        "/api/exports/exp_0000000000000000000000000000000G",
        "/api/exports/../websites/site_demo/export",
        "*",
        "http://x/../healthz",
    ] {
        cases.push(case(path, of(path), &[404]));
    }
    for (path, status) in [
        // Whatever host a request names: there is only this one.
        ("http://elsewhere.example/healthz", 200),
        ("http://x", 200),
        ("/healthz?../..", 200),
        ("/healthz\0", 400),
        ("/heal thz", 400),
        ("/healthz\u{7f}", 400),
        ("", 400),
        ("javascript:alert(1)", 404),
        ("http://[::1", 400),
    ] {
        cases.push(case(path, of(path), &[status]));
    }
    for method in [
        "POST",
        "PUT",
        "DELETE",
        "OPTIONS",
        "PATCH",
        "TRACE",
        "get",
        "PROPFIND",
        &"M".repeat(4_000),
    ] {
        for path in ["/healthz", "/metrics", "/openapi.json", EXPORT] {
            let request = of(path).replacen("GET", method, 1);
            cases.push(case(&format!("{method:.20} {path}"), request, &[405]));
        }
    }
    for method in ["G@T", "GET,", "G\0T", "G\tT"] {
        cases.push(case(
            method,
            of("/healthz").replacen("GET", method, 1),
            &[400],
        ));
    }
    cases.push(case(
        "CONNECT",
        of("x:80").replacen("GET", "CONNECT", 1),
        &[404],
    ));
    for (host, status) in [
        ("", 400),
        ("Host: x\r\nHost: x\r\n", 400),
        ("Host: x\r\nHost: y\r\n", 400),
        ("Host: x, y\r\n", 400),
        ("Host: a b\r\n", 400),
        ("Host: key@x\r\n", 400),
        ("Host: x/../y\r\n", 400),
        ("Host: \u{e9}\r\n", 400),
        ("Host:\r\n", 200),
        ("Host: [::1]:8080\r\n", 200),
        ("Host: elsewhere.example\r\n", 200),
    ] {
        let request = format!("GET /healthz HTTP/1.1\r\nConnection: close\r\n{host}\r\n");
        cases.push(case(host, request, &[status]));
    }
    cases.push(case(
        "no host in HTTP/1.0",
        "GET /healthz HTTP/1.0\r\n\r\n",
        &[200],
    ));
    play(&target, &cases).await;
    // What TRACE repeated, a script could read.
    let trace = [b"TRACE".as_slice(), &authorized(b"Bearer spk_trace")[3..]].concat();
    let answer = target.send(&trace).await;
    assert!(!String::from_utf8_lossy(&answer).contains("spk_trace"));
    target.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_refused_and_not_kept() {
    let target = Target::start().await;
    let mut cases = Vec::new();
    for length in [9_000, 60_000, 250_000] {
        let long = format!("/{}", "a".repeat(length));
        cases.push(case(&format!("a URI of {length}"), of(&long), &[414]));
        let query = format!("/healthz?{}", "%61".repeat(length / 3));
        cases.push(case(&format!("a query of {length}"), of(&query), &[414]));
    }
    for length in [33_000, 60_000, 200_000] {
        let value = with(&format!("X-A: {}\r\n", "a".repeat(length)));
        cases.push(case(&format!("a value of {length}"), value, &[431]));
        let key = [b"Bearer ".to_vec(), vec![b'a'; length]].concat();
        cases.push(case(
            &format!("a key of {length}"),
            authorized(&key),
            &[431],
        ));
    }
    for count in [101, 1_000, 10_000] {
        let many = with(&"X-A: b\r\n".repeat(count));
        cases.push(case(&format!("{count} headers"), many, &[431]));
    }
    cases.push(case("empty headers", with(&"X-A:\r\n".repeat(90)), &[200]));
    let cookies = with(&format!("Cookie: {}\r\n", "a=b; ".repeat(6_000)));
    cases.push(case("cookies", cookies, &[200]));
    play(&target, &cases).await;
    // Beyond what is read at all, an answer may be lost to the reset of a connection that is still written to.
    for bytes in [
        of(&format!("/{}", "a".repeat(2_000_000))),
        with(&format!("X-A: {}\r\n", "a".repeat(2_000_000))),
        with(&format!("{}: a\r\n", "X".repeat(2_000_000))),
        "\r\n".repeat(1_000_000),
        "\0".repeat(1_000_000),
        "A".repeat(2_000_000),
    ] {
        let answer = target.send(bytes.as_bytes()).await;
        assert!(
            matches!(statuses(&answer)[..], [] | [400 | 408 | 414 | 431]),
            "{:.20}: {:.200}",
            bytes,
            String::from_utf8_lossy(&answer)
        );
    }
    target.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_keys_are_no_keys() {
    let target = Target::start().await;
    let key = target.process.key.clone();
    let mut cases = Vec::new();
    let bearer = |text: &str| format!("Bearer {text}").into_bytes();
    for (name, value) in [
        ("nothing", vec![]),
        ("a scheme alone", b"Bearer".to_vec()),
        ("another scheme", format!("Basic {key}").into_bytes()),
        ("no scheme", key.clone().into_bytes()),
        ("a longer one", bearer(&format!("{key}0"))),
        ("a shorter one", bearer(&key[..key.len() - 1])),
        ("in capitals", bearer(&key.to_uppercase())),
        ("two keys", bearer(&format!("{key}, {key}"))),
        ("two keys and a space", bearer(&format!("{key} {key}"))),
        ("a wildcard", bearer("%")),
        ("SQL", bearer("' OR 1=1 --")),
        ("a parameter", bearer("{hash:String}")),
        ("not ASCII", bearer("spk_selfhosted_\u{e9}")),
        ("not UTF-8", b"Bearer \xff\xfe".to_vec()),
        ("a tab for a space", format!("Bearer\t{key}").into_bytes()),
        ("30 kB", bearer(&"a".repeat(30_000))),
    ] {
        cases.push(case(name, authorized(&value), &[401]));
    }
    let twice = format!("Bearer {key}\r\nAuthorization: Bearer {key}");
    cases.push(case("two headers", authorized(twice.as_bytes()), &[401]));
    cases.push(case("NUL", authorized(b"Bearer \0"), &[400]));
    for scheme in ["bearer", "BEARER"] {
        let value = format!("{scheme} {key}");
        cases.push(case(scheme, authorized(value.as_bytes()), &[200]));
    }
    play(&target, &cases).await;
    target.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_and_bodies_hold_nobody_up() {
    let target = Target::start().await;
    let slow_head = async |begun: &str| {
        let mut stream = target.connect().await;
        stream.write_all(begun.as_bytes()).await.expect("sent");
        // A byte now and then is no way around the limit of the whole head.
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if stream.write_all(b"a").await.is_err() {
                break;
            }
            let mut some = [0];
            let seen = tokio::time::timeout(Duration::from_millis(1), stream.peek(&mut some));
            if seen.await.is_ok() {
                break;
            }
        }
        read(&mut stream).await
    };
    let heads = (0..100).map(|i| slow_head(["GE", "GET /healthz HTTP/1.1\r\nX-"][i % 2]));
    let slow_body = async |framing: &str| {
        let mut stream = target.connect().await;
        let head = format!(
            "GET {EXPORT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{framing}\r\n",
            target.process.key
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        read(&mut stream).await
    };
    let bodies = (0..20).map(|i| {
        slow_body(
            [
                "Content-Length: 100000000\r\n",
                "Transfer-Encoding: chunked\r\n",
            ][i % 2],
        )
    });
    let (heads, bodies) = tokio::join!(join_all(heads), join_all(bodies));
    for answer in heads {
        // The answer may be lost to a byte that came too late.
        assert!(matches!(statuses(&answer)[..], [] | [408]));
    }
    for answer in bodies {
        // The export needs no body: it is whole, and the connection is closed behind it.
        assert_eq!(statuses(&answer), [200]);
        assert!(answer.ends_with(b"\r\n0\r\n\r\n"));
    }
    target.end().await;
}
