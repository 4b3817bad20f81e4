//! What /metrics says, and that the dashboard asks for nothing else.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rowspout::catalog::Catalog;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use crate::support::command::rowspout;
use crate::support::insert::traffic;
use crate::support::service::{free_address, listens};
use crate::support::{Http, TestDatabase};

const RANGE: &str = "start_date=2026-01-01&end_date=2026-03-31&include_bots=true";

/// `rowspout serve` as a process: one process has one recorder of metrics.
struct Serving {
    child: Child,
    http: Http,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn serve(database: &TestDatabase, settings: &[(&str, &str)]) -> Serving {
    let key = Catalog::new(&database.config)
        .create_key(&[], "test")
        .await
        .expect("a key");
    let address = free_address();
    let child = rowspout(&database.config)
        .args(["serve", "--listen", &address.to_string()])
        .envs(settings.iter().copied())
        .stderr(Stdio::null())
        .spawn()
        .expect("rowspout starts");
    listens(address).await;
    let headers = format!("Authorization: Bearer {key}\r\n");
    Serving {
        child,
        http: Http::new(&format!("http://{address}"), &headers),
    }
}

impl Serving {
    /// The value of a series, as in `name{label="value"}`.
    async fn metric(&self, series: &str) -> f64 {
        let metrics = self.http.get("/metrics").await;
        let line = metrics
            .text()
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = line.unwrap_or_else(|| panic!("no {series} in {}", metrics.text()));
        value.parse().expect("a number")
    }

    async fn becomes(&self, series: &str, value: f64) {
        let asked = Instant::now();
        loop {
            let found = self.metric(series).await;
            if found == value {
                return;
            }
            assert!(
                asked.elapsed() < Duration::from_secs(10),
                "{series} is {found} and not {value}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted() {
    let database = traffic(2_000_000).await;
    let sql = "CREATE VIEW failing AS SELECT * REPLACE (if(throwIf(url = '/pricing' OR 1, 'on purpose') = 0, url, '') AS url) FROM events";
    let view = database.client.query_raw(sql);
    view.execute().await.expect("a view");
    let settings = [
        ("ROWSPOUT_MAX_EXPORTS", "1"),
        ("ROWSPOUT_MAX_OPEN_EXPORTS", "1"),
        ("ROWSPOUT_MAX_EXPORTS_PER_KEY", "2"),
        ("ROWSPOUT_QUEUE_SECONDS", "1"),
        ("ROWSPOUT_MAX_URI_BYTES", "600"),
    ];
    let serving = serve(&database, &settings).await;
    let http = &serving.http;
    let day = "/api/websites/site_demo/export?start_date=2026-01-01&end_date=2026-01-01";

    let answer = http.get(day).await;
    assert!(answer.status == 200 && answer.complete);
    let complete = "rowspout_exports_finished_total{format=\"csv\",outcome=\"complete\"}";
    serving.becomes(complete, 1.0).await;
    assert_eq!(serving.metric("rowspout_kills_total").await, 0.0);
    let bytes = serving.metric("rowspout_bytes_total{format=\"csv\"}").await;
    assert_eq!(bytes, answer.body.len() as f64);
    let count = "rowspout_first_byte_seconds_count{format=\"csv\"}";
    assert_eq!(serving.metric(count).await, 1.0);

    // One that runs, one that waits, one too many.
    let target = format!("/api/websites/site_demo/export?{RANGE}");
    let mut running = http.open(http.head("GET", &target, "").as_bytes()).await;
    running
        .read_exact(&mut [0; 1_024])
        .await
        .expect("some of it");
    assert_eq!(serving.metric("rowspout_exports_running").await, 1.0);
    // It waits for its client.
    let without = "rowspout_exports_without_place";
    serving.becomes(without, 1.0).await;
    let waiting = http.open(http.head("GET", &target, "").as_bytes()).await;
    serving.becomes("rowspout_exports_queued", 1.0).await;
    assert_eq!(http.get(day).await.status, 429);
    let limit = |name: &str| format!("rowspout_limits_hit_total{{limit=\"{name}\"}}");
    assert_eq!(serving.metric(&limit("max_exports_per_key")).await, 1.0);
    serving.becomes(&limit("queue_seconds"), 1.0).await;
    serving.becomes("rowspout_exports_queued", 0.0).await;
    drop((running, waiting));
    let left = "rowspout_exports_finished_total{format=\"csv\",outcome=\"left\"}";
    serving.becomes(left, 1.0).await;
    serving.becomes("rowspout_kills_total", 1.0).await;
    serving.becomes("rowspout_exports_running", 0.0).await;
    assert_eq!(serving.metric(without).await, 0.0);

    let wrong = "GET /api/websites/site_demo/export HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                 Authorization: Bearer wrong\r\n\r\n";
    assert_eq!(http.send(wrong.as_bytes()).await.status, 401);
    assert_eq!(serving.metric("rowspout_failed_attempts_total").await, 1.0);
    let long = format!("{day}&x={}", "a".repeat(600));
    assert_eq!(http.get(&long).await.status, 414);
    assert_eq!(serving.metric(&limit("max_uri_bytes")).await, 1.0);
    let refused = "rowspout_responses_total{status=\"414\"}";
    assert_eq!(serving.metric(refused).await, 1.0);

    let broken = serve(&database, &[("ROWSPOUT_EVENTS_TABLE", "failing")]).await;
    assert_eq!(broken.http.get(day).await.status, 500);
    // FUNCTION_THROW_IF_VALUE_IS_NON_ZERO
    let errors = "rowspout_clickhouse_errors_total{code=\"395\"}";
    broken.becomes(errors, 1.0).await;
    let refused = "rowspout_exports_finished_total{format=\"csv\",outcome=\"refused\"}";
    broken.becomes(refused, 1.0).await;
    // The suspicion was looked into with a second cursor.
    assert_eq!(broken.metric("rowspout_resumes_total").await, 1.0);
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_part(c))
        .filter(|word| word.starts_with("rowspout_"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_is_made_of_the_metrics_that_exist_and_of_all_of_them() {
    let database = traffic(10).await;
    let serving = serve(&database, &[]).await;
    assert_eq!(serving.http.get("/healthz").await.status, 200);
    let metrics = serving.http.get("/metrics").await;
    let metrics = metrics.text();
    // Names of series, with those of a histogram's parts; and labels as they stand there.
    let series: BTreeSet<_> = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    let dashboard = include_str!("../../src/serve/grafana.json");
    let dashboard: Value = serde_json::from_str(dashboard).expect("JSON");
    let mut asked = BTreeSet::new();
    let mut expressions = 0;
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("targets") {
            let expression = target["expr"].as_str().expect("text");
            asked.extend(names(expression));
            expressions += 1;
            for by in expression.split("by (").skip(1) {
                let (labels, rest) = by.split_once(')').expect("its end");
                let name = names(rest).into_iter().next().expect("a metric");
                for label in labels.split(", ") {
                    let there = metrics.lines().any(|line| {
                        line.starts_with(&name) && line.contains(&format!("{label}=\""))
                    });
                    assert!(there, "{name} has no label {label}: {expression}");
                }
            }
        }
    }
    assert!(expressions >= 12, "{expressions}");
    let unknown: Vec<_> = asked.difference(&series).collect();
    assert!(unknown.is_empty(), "{unknown:?} are in no {metrics}");
    let unseen: Vec<_> = series
        .iter()
        .filter(|name| name.starts_with("rowspout_") && !asked.contains(*name))
        .collect();
    assert!(unseen.is_empty(), "{unseen:?} are on no panel");
    // What the panels' variables ask for.
    let variables = dashboard["templating"].to_string();
    assert!(names(&variables).is_subset(&series), "{variables}");
}
