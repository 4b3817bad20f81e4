//! Many clients of all kinds at one service, for a while: nobody may hold a wrong file, and nobody may be starved.
//!
//! A service with the default limits stands in front of ClickHouse, and `--clients` clients ask it for exports, one after
//! the other, each with a key of its own. Half of them are slow: they take what a poor line does. A quarter leave early: they close the
//! connection, or reset the stream of an HTTP/2 connection that stays, after some of the body or before it. The rest take files as fast as they come.
//! Whoever is refused comes again after the time that the refusal says. Beside them one client with a key of its own asks for a
//! small export again and again.
//!
//! - Every body that ended as a whole one has the SHA-256 of the file that was made before, by the same service at rest.
//! - Every query of a client that left is looked for in ClickHouse's list, and how long it was still there is told.
//! - The small exports' latency, with their time in the queue and in coming again, is told beside the fair share: what one takes at rest, times the
//!   clients that there are.
//! - The service's peak resident memory is told beside its bound: what a quarter of the exports that may be open may hold.
//!
//! ```text
//! cargo bench --bench load --
//!   --clients N     clients at once [default: 200]
//!   --seconds N     how long [default: 120]
//!   --events N      events in the table [default: 1000000]
//!   --wire W        rowbinary or native [default: rowbinary]
//!   --json FILE     the figures for programs
//! ```
//!
//! The embedded engine is used, or the server that `ROWSPOUT_CLICKHOUSE_URL` names; the database `versus_merged` is made
//! there anew. It exits with 1 where a file was wrong, an export that nobody left was not whole, or a query, memory or a
//! small export went beyond its bound.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a bench that fails may panic

mod abandoned;
mod client;
mod files;
mod options;
mod report;

#[allow(dead_code)] // a part of what the other bench measures
#[path = "../versus/measure.rs"]
mod measure;
#[allow(dead_code)]
#[path = "../versus/service.rs"]
mod service;
#[allow(dead_code)]
#[path = "../versus/stats.rs"]
mod stats;
#[path = "../support/mod.rs"]
mod support;
#[allow(dead_code)]
#[path = "../versus/tables.rs"]
mod tables;

use std::sync::Arc;
use std::time::{Duration, Instant};

use abandoned::Abandoned;
use client::{Client, Ending, Kind, Taken, Tally};
use files::Files;
use options::Options;
use report::Report;
use rowspout::catalog::Catalog;
use service::ServiceProcess;
use tables::{Came, Tables, TestBed};

/// Small exports at rest, of which the median counts.
const PROBES_AT_REST: usize = 20;

/// Time between two small exports under load.
const PROBE_PAUSE: Duration = Duration::from_millis(250);

/// How long after time is up a small export may still be refused.
const LATEST: Duration = Duration::from_secs(60);

/// How long after the last client left what remains of its queries is looked for.
const AFTERWARDS: Duration = Duration::from_secs(10);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let is_well = runtime.block_on(measure_all(&Options::read(&arguments)));
    std::process::exit(i32::from(!is_well));
}

async fn measure_all(options: &Options) -> bool {
    let bed = TestBed::prepare(options.events, &[Tables::Merged], Came::JustNow).await;
    let mut clickhouse = bed.clickhouse.clone();
    clickhouse.database = Tables::Merged.database();
    let catalog = Catalog::new(&clickhouse);
    let settings = [("ROWSPOUT_WIRE", options.wire.clone())];
    let service = ServiceProcess::start_with(&bed.clickhouse, Tables::Merged, settings).await;
    let address: Arc<str> = service.address.as_str().into();

    let files = Arc::new(Files::make(&address, &service.key).await);
    let key = catalog.create_key(&[], "small").await.expect("a key");
    let probe = Client::new(address.clone(), key, Kind::Fast, 0);
    let mut at_rest = Vec::new();
    for _ in 0..PROBES_AT_REST {
        at_rest.push(probe.take_small(&files).await.seconds);
    }

    let idle = service.peak();
    let abandoned = Abandoned::watch(&clickhouse);
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let mut clients = Vec::new();
    for number in 0..options.clients {
        let key = catalog.create_key(&[], "load").await.expect("a key");
        let client = Client::new(address.clone(), key, Kind::of(number), number as u64 + 1);
        let (files, left) = (files.clone(), abandoned.leavings());
        clients.push(tokio::spawn(async move {
            let mut tally = Tally::default();
            while Instant::now() < end {
                client.export(&files, &left, end, &mut tally).await;
            }
            tally
        }));
    }
    let mut under_load = Vec::new();
    while Instant::now() < end {
        // From the first asking on, however often it is told to come again, also when time is up.
        let asked = Instant::now();
        loop {
            let taken = probe.take_small(&files).await;
            let again = match taken.ending {
                Ending::Refused(503, again) => Some(again),
                _ => None,
            };
            let seconds = asked.elapsed().as_secs_f64();
            under_load.push(Taken { seconds, ..taken });
            match again {
                Some(again) if Instant::now() < end + LATEST => tokio::time::sleep(again).await,
                _ => break,
            }
        }
        tokio::time::sleep(PROBE_PAUSE).await;
    }
    let mut tally = Tally::default();
    for client in clients {
        tally.add(client.await.expect("a client"));
    }
    tokio::time::sleep(AFTERWARDS).await;
    let report = Report {
        options,
        tally,
        at_rest,
        under_load,
        abandoned: abandoned.end().await,
        idle_bytes: idle,
        peak_bytes: service.peak(),
    };
    drop(service);
    bed.stop();
    report.tell()
}
