//! Over HTTP/2: floods, resets, windows that never open, and frames that are wrong.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::frames::*;
use super::{EXPORT, PATIENCE, Target};

/// How a connection under attack went on.
#[derive(Debug, Default)]
struct End {
    /// The code of the service's GOAWAY.
    goaway: Option<u32>,
    /// Codes of the streams that it reset.
    resets: Vec<u32>,
    /// Answers, and those of them that were successful.
    answers: usize,
    ok: usize,
    /// Bytes of bodies.
    data: usize,
}

impl Target {
    /// Sends bytes on a connection of their own and reads until it ends, or until the answer to a last, good request shows
    /// that it lives on.
    async fn attack(&self, bytes: &[u8], last: u32) -> End {
        let stream = self.connect().await;
        let (mut reading, mut writing) = stream.into_split();
        let bytes = bytes.to_vec();
        let good = frame(HEADERS, END_STREAM | END_HEADERS, last, &get("/healthz"));
        let sent = tokio::spawn(async move {
            // The service may close it before it has read everything.
            let _ = writing.write_all(&bytes).await;
            let _ = writing.write_all(&good).await;
            writing
        });
        let mut end = End::default();
        let (mut lives, mut byte) = (false, [0]);
        let read = async {
            while let Some(frame) = next(&mut reading).await {
                let code = |at: usize| {
                    let bytes = frame.payload.get(at..at + 4).expect("a code");
                    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
                };
                match frame.kind {
                    GOAWAY => end.goaway = Some(code(4)),
                    RST_STREAM => end.resets.push(code(0)),
                    HEADERS => end.answers += 1,
                    DATA => end.data += frame.payload.len(),
                    _ => {}
                }
                end.ok += usize::from(frame.is_ok());
                lives |= frame.kind == HEADERS && frame.stream == last;
                if lives {
                    // What is said of the streams before may come behind it.
                    match tokio::time::timeout(QUIET, reading.peek(&mut byte)).await {
                        Ok(_) => {}
                        Err(_) => break,
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .expect("the connection ends or lives on");
        sent.abort();
        end
    }
}

/// How long a connection that lives on may say nothing before it is believed to have no more to say.
const QUIET: Duration = Duration::from_millis(300);

/// Codes of RFC 9113, 7.
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

fn odd(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_are_cut_off_or_outlived() {
    let target = Target::start().await;
    let head = |stream, flags, block: &[u8]| frame(HEADERS, flags, stream, block);
    let health = get("/healthz");

    // CVE-2023-44487: streams that are opened and reset at once.
    let mut reset = begin(&[]);
    for stream in odd(20_000) {
        reset.extend(head(stream, END_STREAM | END_HEADERS, &health));
        reset.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }
    let end = target.attack(&reset, 40_001).await;
    assert_eq!(end.goaway, Some(ENHANCE_YOUR_CALM), "{end:?}");

    // CVE-2024-27316: a head that never ends.
    let mut endless = begin(&[]);
    endless.extend(head(1, END_STREAM, &health));
    for _ in 0..2_000 {
        let block = fields(&[("x-a", &"a".repeat(16_000))]);
        endless.extend(frame(CONTINUATION, 0, 1, &block));
    }
    let end = target.attack(&endless, 3).await;
    assert!(end.goaway.is_some() && end.ok == 0, "{end:?}");

    // The same without a byte in any of them.
    let mut empty = begin(&[]);
    empty.extend(head(1, END_STREAM, &health));
    for _ in 0..100_000 {
        empty.extend(frame(CONTINUATION, 0, 1, &[]));
    }
    let end = target.attack(&empty, 3).await;
    assert!(end.goaway.is_some() && end.ok == 0, "{end:?}");

    // CVE-2019-9512 and its kin: answers that are asked for and not read, and frames that say nothing.
    for (kind, payload) in [
        (PING, vec![0; 8]),
        (SETTINGS, vec![]),
        (PRIORITY, vec![0, 0, 0, 0, 1]),
        (0x20, vec![0; 100]),
    ] {
        let stream = u32::from(kind == PRIORITY) * 3;
        let mut flood = begin(&[]);
        let one = frame(kind, 0, stream, &payload);
        for _ in 0..50_000 {
            flood.extend(&one);
        }
        let end = target.attack(&flood, 5).await;
        assert!(end.goaway.is_some() || end.ok == 1, "{kind}: {end:?}");
    }

    // More streams at once than are allowed, none of which ends its request.
    let mut many = begin(&[]);
    for stream in odd(5_000) {
        many.extend(head(stream, END_HEADERS, &health));
    }
    let end = target.attack(&many, 10_001).await;
    assert!(end.goaway.is_some() || !end.resets.is_empty(), "{end:?}");

    // Empty pieces of a body that nobody reads.
    let mut data = begin(&[]);
    data.extend(head(1, END_HEADERS, &health));
    for _ in 0..50_000 {
        data.extend(frame(DATA, 0, 1, &[]));
    }
    let end = target.attack(&data, 3).await;
    assert!(end.goaway.is_some() || end.ok == 2, "{end:?}");
    target.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_are_too_large_or_unpack_to_much_are_refused() {
    let target = Target::start().await;
    // Larger than the setting, and larger than what is read at all; in frames of 16 kB.
    for length in [40_000, 200_000, 1_000_000] {
        let mut block = get("/healthz");
        block.extend(fields(&[("x-a", &"a".repeat(length))]));
        let mut bytes = begin(&[]);
        let mut pieces = block.chunks(16_000).enumerate().peekable();
        while let Some((i, piece)) = pieces.next() {
            let end = if pieces.peek().is_none() {
                END_HEADERS
            } else {
                0
            };
            let (kind, flags) = if i == 0 {
                (HEADERS, END_STREAM)
            } else {
                (CONTINUATION, 0)
            };
            bytes.extend(frame(kind, flags | end, 1, piece));
        }
        let end = target.attack(&bytes, 3).await;
        // The good request behind it may be answered, it itself not.
        let refused = end.answers == 2 && end.ok == 1 || end.goaway.is_some() && end.ok == 0;
        assert!(
            refused || end.resets.len() == 1 && end.ok == 1,
            "{length}: {end:?}"
        );
    }
    // A field of 4,000 bytes is kept in the table and named 16,000 times: 64 MB out of 20 kB.
    let mut block = get("/healthz");
    block.push(0x40);
    text(&mut block, "x-bomb");
    text(&mut block, &"a".repeat(3_900));
    let names = vec![0xbe; 12_000];
    block.extend(&names);
    let mut bytes = begin(&[]);
    bytes.extend(frame(HEADERS, END_STREAM, 1, &block));
    for _ in 0..20 {
        bytes.extend(frame(CONTINUATION, 0, 1, &names));
    }
    bytes.extend(frame(CONTINUATION, END_HEADERS, 1, &[]));
    let end = target.attack(&bytes, 3).await;
    assert!(
        end.ok <= 1 && (end.goaway.is_some() || end.answers + end.resets.len() == 2),
        "{end:?}"
    );
    target.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_wrong_end_the_stream_or_the_connection() {
    let target = Target::start().await;
    let whole = END_STREAM | END_HEADERS;
    let request = |block: &[u8]| frame(HEADERS, whole, 1, block);
    let base = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/healthz"),
    ];
    let with = |more: &[(&str, &str)]| request(&fields(&[&base[..], more].concat()));
    for (name, bytes) in [
        ("an upper-case name", with(&[("X-A", "b")])),
        (
            "a value with line ends",
            with(&[("x-a", "b\r\nx-injected: c")]),
        ),
        ("a value with NUL", with(&[("x-a", "b\0")])),
        ("a name with line ends", with(&[("x-a\r\nx-b", "c")])),
        (
            "a header of the connection",
            with(&[("connection", "close")]),
        ),
        ("a chunked body", with(&[("transfer-encoding", "chunked")])),
        ("a second path", with(&[(":path", "/metrics")])),
        (
            "a pseudo-header behind others",
            with(&[("x-a", "b"), (":authority", "x")]),
        ),
        ("a pseudo-header of answers", with(&[(":status", "200")])),
        ("an unknown pseudo-header", with(&[(":key", "x")])),
        ("no path", request(&fields(&base[..2]))),
        ("an empty path", request(&get(""))),
        ("a path with spaces", request(&get("/heal thz"))),
        ("no method", request(&fields(&base[1..]))),
        ("a length without a body", with(&[("content-length", "5")])),
        (
            "two lengths",
            with(&[("content-length", "0"), ("content-length", "5")]),
        ),
    ] {
        let end = target.attack(&[begin(&[]), bytes].concat(), 3).await;
        // It is no answer to this stream, or one that is an error; the next may be answered.
        assert!(end.ok <= 1 && end.data < 1_000, "{name}: {end:?}");
        assert!(
            end.resets.len() + end.answers - end.ok == 1 || end.goaway.is_some(),
            "{name}: {end:?}"
        );
    }
    let mut wrong = Vec::new();
    let settings = |name: u16, value: u32| {
        let mut payload = name.to_be_bytes().to_vec();
        payload.extend(value.to_be_bytes());
        frame(SETTINGS, 0, 0, &payload)
    };
    let mut too_long = frame(DATA, 0, 1, &[]);
    too_long[..3].copy_from_slice(&[0xff; 3]);
    for (name, bytes, code) in [
        (
            "a head without a stream",
            frame(HEADERS, whole, 0, &get("/healthz")),
            PROTOCOL_ERROR,
        ),
        (
            "a stream of the server",
            frame(HEADERS, whole, 2, &get("/healthz")),
            PROTOCOL_ERROR,
        ),
        (
            "a body without a head",
            frame(DATA, 0, 1, b"abc"),
            PROTOCOL_ERROR,
        ),
        (
            "a promise",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
            PROTOCOL_ERROR,
        ),
        (
            "a rest without a begin",
            frame(CONTINUATION, END_HEADERS, 1, &get("/healthz")),
            PROTOCOL_ERROR,
        ),
        (
            "a window of nothing",
            frame(WINDOW_UPDATE, 0, 0, &[0; 4]),
            PROTOCOL_ERROR,
        ),
        (
            "a window beyond all",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            FLOW_CONTROL_ERROR,
        ),
        (
            "a first window beyond all",
            settings(INITIAL_WINDOW_SIZE, u32::MAX),
            FLOW_CONTROL_ERROR,
        ),
        ("a frame size of nothing", settings(5, 0), PROTOCOL_ERROR),
        (
            "half a setting",
            frame(SETTINGS, 0, 0, &[0; 5]),
            FRAME_SIZE_ERROR,
        ),
        ("a short ping", frame(PING, 0, 0, &[0; 7]), FRAME_SIZE_ERROR),
        ("a frame of 16 MB", too_long, FRAME_SIZE_ERROR),
        (
            "HPACK that names nothing",
            frame(HEADERS, whole, 1, &[0xff, 0xff, 0xff, 0x7f]),
            COMPRESSION_ERROR,
        ),
        (
            "HPACK that breaks off",
            frame(HEADERS, whole, 1, &[0x40, 0x0a, b'x']),
            COMPRESSION_ERROR,
        ),
        (
            "padding longer than its frame",
            frame(DATA, 8, 1, &[200, 1, 2]),
            PROTOCOL_ERROR,
        ),
    ] {
        let end = target.attack(&[begin(&[]), bytes].concat(), 3).await;
        // A library may call any of them a protocol error.
        let known = end.goaway == Some(code) || end.goaway == Some(PROTOCOL_ERROR);
        if !known || end.ok > 0 {
            wrong.push(format!("{name}: {end:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    target.end().await;
}

/// The request of an export on a stream.
fn export(target: &Target, stream: u32) -> Vec<u8> {
    let key = format!("Bearer {}", target.process.key);
    let block = [get(EXPORT), fields(&[("authorization", &key)])].concat();
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block)
}

/// The next frame, unless the connection has ended. A client that shows signs of life keeps nothing by that.
async fn next_of_the_living(stream: &mut TcpStream) -> Option<Frame> {
    let frame = tokio::time::timeout(PATIENCE, next(stream))
        .await
        .expect("a frame, or the end")?;
    if frame.kind == PING && frame.flags == 0 {
        let pong = super::frames::frame(PING, 1, 0, &frame.payload);
        // It may just have ended.
        let _ = stream.write_all(&pong).await;
    }
    Some(frame)
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_never_open_hold_no_export() {
    let target = Target::start().await;
    // Nothing is taken, or the beginning.
    for window in [0, 100_000] {
        let mut bytes = begin(&[(INITIAL_WINDOW_SIZE, window)]);
        for stream in odd(10) {
            bytes.extend(export(&target, stream));
        }
        let mut stream = target.connect().await;
        stream.write_all(&bytes).await.expect("sent");
        let (mut ids, mut reset, mut taken) = (Vec::new(), Vec::new(), 0);
        while reset.len() < 10 {
            let frame = next_of_the_living(&mut stream).await;
            let frame = frame.expect("the connection lives on");
            match frame.kind {
                HEADERS if frame.is_ok() => ids.push(frame.stream),
                DATA => taken += frame.payload.len(),
                RST_STREAM => reset.push(frame.stream),
                _ => {}
            }
        }
        ids.sort_unstable();
        reset.sort_unstable();
        assert_eq!(ids, odd(10).collect::<Vec<_>>());
        assert_eq!(ids, reset);
        // The connection's own window has 65,535 bytes.
        assert_eq!(taken, window.min(65_535) as usize);
        let ended = if window == 0 { 10 } else { 20 };
        let stalled = format!("rowspout_limits_hit_total{{limit=\"stall_seconds\"}} {ended}");
        // The streams are gone a little before their exports know.
        let begun = Instant::now();
        loop {
            let metrics = target.process.http.get("/metrics").await;
            if metrics.text().lines().any(|line| line == stalled) {
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "no {stalled}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Nothing is left of them, so there is room for more on it.
        let head = frame(HEADERS, END_STREAM | END_HEADERS, 21, &get("/healthz"));
        stream.write_all(&head).await.expect("sent");
        loop {
            let frame = next_of_the_living(&mut stream).await.expect("an answer");
            if frame.stream == 21 {
                assert!(frame.is_ok());
                break;
            }
        }
    }
    target.end().await;
}

/// What an answer ended with may lie behind a window that never opens, too.
#[tokio::test(flavor = "multi_thread")]
async fn windows_that_never_open_hold_no_connection() {
    let target = Target::start().await;
    let mut bytes = begin(&[(INITIAL_WINDOW_SIZE, 1)]);
    for stream in odd(10) {
        bytes.extend(frame(
            HEADERS,
            END_STREAM | END_HEADERS,
            stream,
            &get("/metrics"),
        ));
    }
    let mut stream = target.connect().await;
    stream.write_all(&bytes).await.expect("sent");
    let mut taken = 0;
    while let Some(frame) = next_of_the_living(&mut stream).await {
        taken += frame.payload.len() * usize::from(frame.kind == DATA);
    }
    assert_eq!(taken, 10);
    target.end().await;
}
