//! The engine's HTTP interface: any bytes get an answer or an end, and one statement with its rows is the same however it
//! is sent: in the URL, in the body, in a form, in pieces, compressed.

use std::io::Write as _;
use std::sync::OnceLock;

use arbitrary::{Result, Unstructured};
use rowspout::engine::fuzzing::serve;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Runtime};

use super::super::expected::cut;
use super::input::{damage, rest, sizes};

/// A connection's bytes.
pub fn engine(input: &[u8]) {
    let _ = check(&mut Unstructured::new(input));
}

fn check(u: &mut Unstructured<'_>) -> Result<()> {
    let sizes = sizes(u)?;
    match u.int_in_range(0..=3)? {
        0 => {
            let connection = rest(u)?;
            same_status(connection, &sizes);
        }
        1 => damaged(u, &sizes)?,
        2 => compressed_garbage(u, &sizes)?,
        _ => same_statement(u, &sizes)?,
    }
    Ok(())
}

/// Bodies that are nearly compressed.
fn compressed_garbage(u: &mut Unstructured<'_>, sizes: &[usize]) -> Result<()> {
    let coding = *u.choose(&["lz4", "zstd"])?;
    let mut body = if u.arbitrary()? {
        let rows = text(u)?.repeat(u.int_in_range(1..=2000)?);
        compressed(coding, rows.as_bytes())
    } else {
        let magic: &[u8] = if coding == "lz4" {
            b"\x04\x22\x4d\x18"
        } else {
            b"\x28\xb5\x2f\xfd"
        };
        [magic, rest(u)?].concat()
    };
    damage(u, &mut body)?;
    let headers = format!(
        "Content-Encoding: {coding}\r\nContent-Length: {}\r\n",
        body.len()
    );
    let request = request("POST", "/?query=INSERT+INTO+t+FORMAT+CSV", &headers, &body);
    if coding == "zstd" {
        // The library holds a frame to the size that it claims in its head where all of it is there, and an empty last block
        // escapes that where it is not.
        for answer in [exchange([&request[..]]), exchange(cut(&request, sizes))] {
            assert!(answer.starts_with(b"HTTP/1.1 "));
        }
    } else {
        assert!(same_status(&request, sizes).starts_with(b"HTTP/1.1 "));
    }
    Ok(())
}

/// How the answer begins, which does not depend on how the request came. Whether the connection goes on behind a failure
/// does, and whether the library that reads HTTP still refuses what is none.
fn same_status(connection: &[u8], sizes: &[usize]) -> Vec<u8> {
    let status = |answer: Vec<u8>| {
        let own = answer.windows(13).any(|part| part == b"x-clickhouse-");
        let end = answer.iter().position(|&byte| byte == b'\r');
        let status = &answer[..end.unwrap_or(answer.len())];
        if status == b"HTTP/1.1 400 Bad Request" && !own {
            return Vec::new();
        }
        status.to_vec()
    };
    let whole = status(exchange([connection]));
    assert_eq!(
        whole,
        status(exchange(cut(connection, sizes))),
        "cut by {sizes:?}"
    );
    whole
}

/// A request with some bytes changed.
fn damaged(u: &mut Unstructured<'_>, sizes: &[usize]) -> Result<()> {
    const REQUESTS: [&str; 4] = [
        "POST /?query=INSERT+INTO+t+FORMAT+CSV HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n1,2\r\n\r\n0\r\n\r\n",
        "POST /?database=d&param_a=b HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 106\r\n\r\n\
         --x\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT {a:String}\r\n--x\r\nContent-Disposition: form-data; name=\"param_a\"\r\n\r\nb\r\n--x--\r\n",
        "GET /?query=SELECT%201&default_format=CSV&wait_end_of_query=1&readonly=1 HTTP/1.1\r\nHost: [::1]:8123\r\nX-ClickHouse-Format: TSV\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic ZGVmYXVsdDp4\r\nContent-Length: 40\r\n\r\nKILL QUERY WHERE query_id = 'x' SYNC    ",
    ];
    let mut connection = u.choose(&REQUESTS)?.as_bytes().to_vec();
    damage(u, &mut connection)?;
    same_status(&connection, sizes);
    Ok(())
}

/// One statement in each of the ways that a client can send it.
fn same_statement(u: &mut Unstructured<'_>, sizes: &[usize]) -> Result<()> {
    let mut sql = String::new();
    while sql.len() < 200 && u.ratio(7, 8)? {
        const WORDS: [&str; 24] = [
            "INSERT ",
            "INTO ",
            "t ",
            "FORMAT ",
            "CSV",
            "\n",
            "SELECT ",
            "1",
            "'",
            "`",
            "$a$",
            ";",
            "VALUES ",
            "(",
            ")",
            "-- ",
            "/* ",
            " */",
            "SETTINGS a = 1 ",
            "WITH TOTALS ",
            "KILL QUERY WHERE query_id = ",
            "'x\\''",
            "{a:String}",
            "\r\n",
        ];
        sql += u.choose(&WORDS)?;
    }
    if sql.is_empty() {
        return Ok(());
    }
    let insert = "INSERT INTO t FORMAT CSV\n";
    let with_rows: bool = u.arbitrary()?;
    if with_rows {
        sql = insert.to_owned();
    }
    let mut rows = Vec::new();
    if with_rows {
        // Not `SETTINGS`, which would belong to the statement.
        rows.extend_from_slice(b"1,");
        rows.extend(rest(u)?.repeat(3));
    }
    let body = [sql.as_bytes(), &rows].concat();
    let plain = post("/", "", &body);
    let wanted = exchange([&plain[..]]);

    assert_eq!(wanted, exchange(cut(&plain, sizes)), "in pieces");
    let mut chunked = request("POST", "/", "Transfer-Encoding: chunked\r\n", b"");
    for chunk in cut(&body, sizes)
        .into_iter()
        .filter(|chunk| !chunk.is_empty())
    {
        chunked.extend(format!("{:x}\r\n", chunk.len()).bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(wanted, exchange([&chunked[..]]), "in chunks");
    for coding in ["lz4", "zstd"] {
        let body = compressed(coding, &body);
        let request = post("/", &format!("Content-Encoding: {coding}\r\n"), &body);
        assert_eq!(wanted, exchange([&request[..]]), "as {coding}");
        let broken = &body[..u.int_in_range(0..=body.len() - 1)?];
        if !broken.is_empty() {
            let request = post("/", &format!("Content-Encoding: {coding}\r\n"), broken);
            let answer = exchange([&request[..]]);
            assert!(
                !answer.starts_with(b"HTTP/1.1 200 "),
                "a broken frame is no end: {} of {} bytes of {coding}: {}",
                broken.len(),
                body.len(),
                String::from_utf8_lossy(&answer)
            );
        }
    }
    let in_url: String = form_urlencoded::byte_serialize(sql.as_bytes()).collect();
    if with_rows {
        let in_url = post(&format!("/?query={in_url}"), "", &rows);
        assert_eq!(wanted, exchange([&in_url[..]]), "in the URL");
    } else {
        let in_url = post(&format!("/?query={in_url}"), "", b"");
        let form = [
            b"--bound\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\n",
            sql.as_bytes(),
            b"\r\n--bound--\r\n",
        ]
        .concat();
        let form = post(
            "/",
            "Content-Type: multipart/form-data; boundary=bound\r\n",
            &form,
        );
        assert_eq!(exchange([&form[..]]), exchange([&in_url[..]]), "in a form");
    }
    Ok(())
}

fn text(u: &mut Unstructured<'_>) -> Result<String> {
    let len = u.arbitrary_len::<u8>()?.min(200);
    Ok(String::from_utf8_lossy(u.bytes(len)?).into_owned())
}

fn post(target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let headers = format!("{headers}Content-Length: {}\r\n", body.len());
    request("POST", target, &headers, body)
}

fn request(method: &str, target: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

fn compressed(coding: &str, bytes: &[u8]) -> Vec<u8> {
    match coding {
        "zstd" => zstd::encode_all(bytes, 1).unwrap(),
        _ => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// The answers on a connection that brings these bytes and then nothing more, without what is random or of the moment in them.
fn exchange<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Builder::new_current_thread().build().unwrap());
    let pieces: Vec<_> = pieces.into_iter().collect();
    let answers = runtime.block_on(async {
        let (client, server) = tokio::io::duplex(1 << 20);
        let (mut from, mut to) = tokio::io::split(client);
        let send = async {
            for piece in pieces {
                // The engine may have ended the connection.
                if to.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let _ = to.shutdown().await;
        };
        let receive = async {
            let mut answers = Vec::new();
            let _ = from.read_to_end(&mut answers).await;
            answers
        };
        // An end within a request is an error; that there is one is all that is wanted.
        let (_, (), answers) = tokio::join!(serve(server), send, receive);
        answers
    });
    let mut kept = Vec::new();
    for line in answers.split_inclusive(|&byte| byte == b'\n') {
        let random: [&[u8]; 3] = [
            b"date:",
            b"x-clickhouse-query-id:",
            b"x-clickhouse-exception-tag:",
        ];
        if !random.iter().any(|name| line.starts_with(name)) {
            kept.extend_from_slice(line);
        }
    }
    kept
}
