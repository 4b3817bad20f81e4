//! Counts that do not come, or not to their end: asked for again, and never taken for less.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::support::service::config;

const WINDOW: &str = "from=2026-03-27T00:00:00Z&to=2026-03-28T00:00:00Z";

/// What happens to a question for counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The connection ends without an answer.
    End,
    /// Nothing comes.
    Silence,
    /// An answer ends well before the first count.
    Nothing,
}

/// What was seen of the questions that went along a way.
#[derive(Default)]
struct Seen {
    /// How many came to grief.
    struck: AtomicUsize,
    /// The name of each one that has one.
    names: Mutex<Vec<String>>,
}

/// A way to a ClickHouse on which so many of those questions come to grief; its URL, and what is seen there.
async fn way(target: &str, fault: Fault, faults: usize) -> (String, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let target = target.trim_start_matches("http://").to_owned();
    let seen = Arc::<Seen>::default();
    let seen_there = seen.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&target).await.expect("ClickHouse");
            let seen = seen_there.clone();
            tokio::spawn(async move { pass(client, server, fault, faults, &seen).await });
        }
    });
    (url, seen)
}

/// The names of questions in so many bytes of requests.
fn names(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let names = text.split(['?', '&', ' ']);
    let names = names.filter_map(|parameter| parameter.strip_prefix("query_id="));
    names.map(str::to_owned).collect()
}

async fn pass(client: TcpStream, server: TcpStream, fault: Fault, faults: usize, way: &Seen) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let asked = async {
        let (mut seen, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            seen.extend_from_slice(&buffer[..read]);
            let more = names(&buffer[..read]);
            way.names.lock().expect("whole").extend(more);
            if seen.windows(9).any(|bytes| bytes == b"AS begins") {
                seen.clear();
                let more = |came: usize| (came < faults).then_some(came + 1);
                let strikes = way
                    .struck
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more);
                if strikes.is_ok() {
                    return true;
                }
            }
            if to_server.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
        false
    };
    let struck = tokio::select! {
        struck = asked => struck,
        _ = tokio::io::copy(&mut from_server, &mut to_client) => false,
    };
    match fault {
        Fault::Silence if struck => std::future::pending().await,
        Fault::Nothing if struck => {
            let nothing = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
            let _ = to_client.write_all(nothing.as_bytes()).await;
        }
        Fault::End | Fault::Silence | Fault::Nothing => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_that_do_not_come_are_asked_for_again_so_often_as_there_are_replicas_and_once_more()
{
    let database = database().await;
    insert::website(&database, SITE).await;
    let events: Vec<_> = (0..500)
        .map(|id| Event::at(START + id * MINUTE, id as u64))
        .collect();
    insert(&database, &events).await;
    let direct = TestService::start(&database.config).await;
    let expected = plan(&direct, WINDOW).await;
    let expected_tag = parts(&expected)[0]["etag"].as_str().expect("a tag");
    let path = format!("/api/websites/{SITE}/export?{WINDOW}");
    for (fault, faults, second, status, times) in [
        (Fault::End, 1, false, 200, 1),
        (Fault::End, usize::MAX, false, 503, 2),
        (Fault::End, usize::MAX, true, 200, 1),
        (Fault::Silence, usize::MAX, true, 200, 1),
        (Fault::Nothing, 1, false, 200, 1),
        (Fault::Nothing, usize::MAX, false, 503, 2),
        (Fault::Nothing, usize::MAX, true, 200, 1),
    ] {
        for method in ["plan", "HEAD", "GET"] {
            let case = format!("{fault:?} {faults} {second} {method}");
            let (url, seen) = way(&database.config.url, fault, faults).await;
            let (second_url, seen_second) = way(&database.config.url, fault, 0).await;
            let mut settings = config(&database.config);
            // Long where nobody is waited for, so that a slow machine is not taken for a silent one.
            settings.silence = match fault {
                Fault::Silence => Duration::from_secs(10),
                _ => Duration::from_secs(60),
            };
            // Who failed is not asked again meanwhile, however slow the machine.
            settings.replica_pause = Duration::from_secs(600);
            settings.clickhouse.url = if second {
                format!("{url},{second_url}")
            } else {
                url
            };
            let service = TestService::start_without_key(settings, direct.key.clone()).await;
            let answer = match method {
                "plan" => {
                    let path = path.replace("/export?", "/export/plan?");
                    service.get(&path).await
                }
                "HEAD" => {
                    let key = Some(service.key.as_str());
                    service.send(Method::HEAD, &path, key).await
                }
                _ => service.get(&path).await,
            };
            assert_eq!(answer.status, status, "{case}: {answer:?}");
            assert_eq!(seen.struck.load(Ordering::SeqCst), times, "{case}");
            let mut names = seen.names.lock().expect("whole").clone();
            names.extend(seen_second.names.lock().expect("whole").drain(..));
            names.sort();
            assert!(names.len() > 1, "{case}: {names:?}");
            let twice = names.windows(2).find(|two| two[0] == two[1]);
            assert_eq!(
                twice, None,
                "{case}: who ends one of them may end the other"
            );
            if status != 200 {
                continue;
            }
            if method == "plan" {
                let plan: Value = serde_json::from_str(&answer.text()).expect("JSON");
                assert_eq!(parts(&plan), parts(&expected), "{case}");
            } else {
                assert_eq!(tag(&answer), Some(expected_tag), "{case}");
                assert!(answer.body.is_ok(), "{case}");
            }
        }
    }
}
