//! The least that an export costs: one row through the service, against the queries that it waits for.

use std::time::Instant;

use rowspout::request::Format;
use serde_json::{Value, json};

use super::options::Options;
use super::proxy::Proxy;
use super::service::ServiceProcess;
use super::stats::quantile;
use super::tables::{SITE_OF_ONE, Tables, TestBed};

/// Counted exports, after [`WARM`] that are not.
const EXPORTS: usize = 300;
const WARM: usize = 30;

/// Prints the latency of a one-row export beside the time in which its queries were outstanding, as a proxy in front of
/// ClickHouse sees them; as JSON too.
pub(crate) async fn run(bed: &TestBed, options: &Options) -> Value {
    bed.add_site_of_one().await;
    let proxy = Proxy::start(&bed.clickhouse.url).await;
    let mut clickhouse = bed.clickhouse.clone();
    clickhouse.url.clone_from(&proxy.url);
    println!();
    println!("one row, {EXPORTS} exports, milliseconds: median (quartiles)");
    println!(
        "{:<8} {:<9} {:>8} {:>22} {:>22} {:>22}",
        "format", "wire", "queries", "export", "its bare queries", "more"
    );
    let mut results = Vec::new();
    for &wire in &options.wires {
        let service =
            ServiceProcess::start(&clickhouse, Tables::Merged, wire, options.parallel, 2).await;
        for &format in &options.formats {
            let mut figures = [Vec::new(), Vec::new(), Vec::new()];
            let mut queries = 0;
            for number in 0..WARM + EXPORTS {
                proxy.forget();
                let begun = Instant::now();
                service.export(SITE_OF_ONE, format).await;
                let ended = Instant::now();
                let outstanding = proxy.outstanding(begun, ended);
                if number >= WARM {
                    queries = outstanding.queries;
                    let export = ended - begun;
                    let times = [export, outstanding.time, export - outstanding.time];
                    for (figure, time) in figures.iter_mut().zip(times) {
                        figure.push(time.as_secs_f64() * 1e3);
                    }
                }
            }
            results.push(print(format, wire, queries, figures));
        }
    }
    json!({ "exports": EXPORTS, "milliseconds": results })
}

fn print(format: Format, wire: &str, queries: usize, mut figures: [Vec<f64>; 3]) -> Value {
    let quartiles = figures.each_mut().map(|values| {
        values.sort_by(f64::total_cmp);
        [0.5, 0.25, 0.75].map(|at| quantile(values, at))
    });
    let [export, bare, more] =
        quartiles.map(|[median, low, high]| format!("{median:.2} ({low:.2}..{high:.2})"));
    println!(
        "{:<8} {wire:<9} {queries:>8} {export:>22} {bare:>22} {more:>22}",
        format.as_str()
    );
    let [export, bare, more] = quartiles.map(
        |[median, low, high]| json!({ "median": median, "quartile_1": low, "quartile_3": high }),
    );
    json!({
        "format": format.as_str(),
        "wire": wire,
        "queries": queries,
        "export": export,
        "bare_queries": bare,
        "more": more,
    })
}
