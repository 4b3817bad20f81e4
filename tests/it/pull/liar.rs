//! Services that lie, and what stands between: nothing of theirs ends in a manifest.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const KEY: &str = "spk_selfhosted_00112233445566778899aabbccddeeff";
const DAY: [&str; 8] = [
    "--start",
    "2026-02-01",
    "--end",
    "2026-02-01",
    "--format",
    "ndjson",
    "--retries",
    "1",
];
const ROWS: &str = "{\"url\":\"/\"}\n{\"url\":\"/a\"}\n";
const ID: &str = "exp_00112233445566778899aabbccddeeff";

/// What a service says, true unless a test changes it.
#[derive(Clone)]
struct Script {
    plan: Value,
    /// Status line and header fields of the part, as they are sent.
    head: String,
    body: String,
    receipt: Value,
    /// Instead of all of it.
    always: Option<String>,
}

impl Script {
    fn honest() -> Self {
        let (from, to) = ("2026-02-01T00:00:00Z", "2026-02-02T00:00:00Z");
        Self {
            plan: json!({
                "website": SITE, "format": "ndjson", "timezone": "UTC", "as_of": "2026-04-01T00:00:00Z", "rows": 2,
                "bytes_estimate": 20, "part_rows": 1_000_000, "days": [],
                "parts": [{"day": "2026-02-01", "from": from, "to": to, "rows": 2, "bytes_estimate": 20, "etag": "\"x\"",
                           "url": format!("/api/websites/{SITE}/export?from={from}&to={to}&format=ndjson")}],
            }),
            head: format!("HTTP/1.1 200 OK\r\nX-Export-Id: {ID}\r\nETag: \"x\"\r\n"),
            body: ROWS.to_owned(),
            receipt: receipt(ROWS),
            always: None,
        }
    }

    fn answer(&self, request: &str) -> String {
        let path = request.split(' ').nth(1).unwrap_or_default();
        let whole = |head: &str, body: &str| {
            let length = match head.contains("Content-Length") {
                true => String::new(),
                false => format!("Content-Length: {}\r\n", body.len()),
            };
            format!("{head}{length}Connection: close\r\n\r\n{body}")
        };
        if let Some(always) = &self.always {
            return always.clone();
        }
        let ok = "HTTP/1.1 200 OK\r\n";
        if path.contains("/export/plan") {
            whole(ok, &self.plan.to_string())
        } else if path.contains("/api/exports/") {
            whole(ok, &self.receipt.to_string())
        } else {
            whole(&self.head, &self.body)
        }
    }
}

/// What becomes of an honest script.
type Lie<'a> = &'a dyn Fn(&mut Script);

fn receipt(body: &str) -> Value {
    json!({
        "export_id": ID, "status": "complete", "reason": null, "website": SITE, "format": "ndjson", "timezone": "UTC",
        "start_date": null, "end_date": null, "from": "2026-02-01T00:00:00Z", "to": "2026-02-02T00:00:00Z",
        "event_type": null, "include_bots": false, "filters": [], "fields": null, "limit": null,
        "rows": body.lines().count(), "bytes": body.len(), "sha256": hex(&Sha256::digest(body)), "resumes": 0,
        "started": "2026-04-01T00:00:00Z", "finished": "2026-04-01T00:00:01Z",
    })
}

/// Plays a script; its address, and the requests so far.
async fn play(script: Script) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = requests.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (script, seen) = (script.clone(), seen.clone());
            tokio::spawn(async move {
                let (mut text, mut buffer) = (String::new(), [0; 4_096]);
                while !text.contains("\r\n\r\n") {
                    match stream.read(&mut buffer).await {
                        Ok(read @ 1..) => text.push_str(&String::from_utf8_lossy(&buffer[..read])),
                        _ => return,
                    }
                }
                let answer = script.answer(&text);
                seen.lock().unwrap().push(text);
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (url, requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_service_without_trailers_is_believed_by_its_receipt() {
    let (url, requests) = play(Script::honest()).await;
    let (_kept, folder) = place();
    let output = command(&url, KEY, &folder, &DAY).output().await;
    succeeded(&output.unwrap());
    let parts = told_parts(&folder);
    assert_eq!(parts.into_values().collect::<Vec<_>>(), [ROWS.as_bytes()]);
    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 3);
    assert!(
        requests
            .iter()
            .all(|request| request.contains(&format!("Bearer {KEY}")))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_lie_ends_in_a_file_or_a_manifest() {
    let less = "{\"url\":\"/\"}\n";
    let other = "{\"url\":\"/\"}\n{\"url\":\"/b\"}\n";
    let lies: [(&str, Lie<'_>); 17] = [
        ("other bytes than the receipt's", &|script| {
            script.body = other.to_owned()
        }),
        ("another SHA-256", &|script| {
            script.receipt["sha256"] = json!("0".repeat(64))
        }),
        ("another size", &|script| script.receipt["bytes"] = json!(7)),
        ("more rows than there are", &|script| {
            script.receipt["rows"] = json!(3)
        }),
        ("a body that is shorter than its length", &|script| {
            script.head.push_str("Content-Length: 90\r\n");
        }),
        ("a body that politely ends too early", &|script| {
            script.body = less.to_owned()
        }),
        (
            "fewer rows than planned, with a receipt to match",
            &|script| {
                script.body = less.to_owned();
                script.receipt = receipt(less);
            },
        ),
        ("fewer rows than planned, without ETags", &|script| {
            script.body = less.to_owned();
            script.receipt = receipt(less);
            script.plan["parts"][0]["etag"] = Value::Null;
            script.head = script.head.replace("ETag: \"x\"\r\n", "");
        }),
        ("an aborted export's receipt", &|script| {
            script.receipt["status"] = json!("aborted")
        }),
        ("another export's receipt", &|script| {
            script.receipt["website"] = json!("site_b")
        }),
        ("no receipt", &|script| script.receipt = json!({"rows": 2})),
        ("no id", &|script| {
            script.head = "HTTP/1.1 200 OK\r\n".into()
        }),
        ("an id that leads elsewhere", &|script| {
            script.head = "HTTP/1.1 200 OK\r\nX-Export-Id: ../../elsewhere\r\n".into();
        }),
        ("a compressed body", &|script| {
            script.head.push_str("Content-Encoding: gzip\r\n")
        }),
        ("a plan of another website", &|script| {
            script.plan["website"] = json!("site_b")
        }),
        ("a plan with less time", &|script| {
            script.plan["parts"][0]["from"] = json!("2026-02-01T01:00:00Z");
        }),
        ("a page", &|script| {
            let page =
                "HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n<html></html>";
            script.always = Some(page.into());
        }),
    ];
    for (what, lie) in lies {
        let mut script = Script::honest();
        lie(&mut script);
        let (url, _) = play(script).await;
        let (_kept, folder) = place();
        let output = command(&url, KEY, &folder, &DAY).output().await;
        let said = failed(&output.unwrap(), 1);
        assert!(files(&folder).is_empty(), "{what}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_goes_nowhere_else_and_is_never_printed() {
    static ELSEWHERE: AtomicUsize = AtomicUsize::new(0);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            ELSEWHERE.fetch_add(1, Ordering::Relaxed);
        }
    });
    let text = format!(
        "{{\"error\":{{\"code\":\"x\",\"message\":\"your key is {KEY}\\u001b[2J\",\"field\":null}}}}"
    );
    for (head, body, says) in [
        (
            format!("HTTP/1.1 302 Found\r\nLocation: http://{elsewhere}/\r\n"),
            "",
            "give that address",
        ),
        ("HTTP/1.1 403 Forbidden\r\n".into(), &*text, "your key is …"),
        (
            "HTTP/1.1 400 Bad Request\r\n".into(),
            &text,
            "your key is …",
        ),
        (
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n".into(),
            &text,
            "again in 1.0 s",
        ),
    ] {
        let mut script = Script::honest();
        let length = body.len();
        script.always = Some(format!(
            "{head}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        ));
        let (url, _) = play(script).await;
        let (_kept, folder) = place();
        let output = command(&url, KEY, &folder, &DAY).output().await.unwrap();
        let code = if head.contains(" 400 ") { 2 } else { 1 };
        let said = failed(&output, code);
        assert!(said.contains(says), "{said}");
        assert!(!said.contains(KEY) && !said.contains('\u{1b}'), "{said}");
        assert!(files(&folder).is_empty());
    }
    assert_eq!(ELSEWHERE.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_falls_silent_is_asked_again() {
    let mut script = Script::honest();
    // The head is there, and the body never comes: the connection stays open on purpose.
    script.always = None;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let silent = Arc::new(AtomicUsize::new(0));
    let fell = silent.clone();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4_096];
            let read = stream.read(&mut buffer).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
            let answer = script.answer(&text);
            if text.contains("/export?") && fell.fetch_add(1, Ordering::Relaxed) == 0 {
                let half = &answer.as_bytes()[..answer.len() - 5];
                let _ = stream.write_all(half).await;
                open.push(stream);
                continue;
            }
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let (_kept, folder) = place();
    let arguments = [&DAY[..], &["--silence", "1"]].concat();
    let output = command(&url, KEY, &folder, &arguments).output().await;
    let said = succeeded(&output.unwrap());
    assert!(said.contains("sent nothing for 1 s"), "{said}");
    assert_eq!(silent.load(Ordering::Relaxed), 2);
    told_parts(&folder);
}
