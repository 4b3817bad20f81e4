//! Faults of a seeded plan, between ClickHouse and Rowspout and between Rowspout and its client. Every outcome is one of two:
//! the bytes of an unbroken export, or a failure that the client can see.
//!
//! `ROWSPOUT_FAULTS` says how many are played, `ROWSPOUT_FAULTS_SEED` from which plan, and `ROWSPOUT_FAULTS_ONLY` plays one
//! of them alone, by its number.

mod http1;
mod judge;
mod lane;
mod meddle;
mod plan;
mod proxy;
pub(crate) mod random;
mod world;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use rowspout::cursor::WireCompression;

use self::judge::Outcome;
use self::lane::Lane;
use self::plan::{End, Fault, Kind, Spot};
use self::world::World;

/// Faults that are played where nobody says how many.
const DEFAULT_FAULTS: u64 = 60;
const DEFAULT_SEED: u64 = 20_260_301;

/// Faults that are played at once, each on a Rowspout of its own; most of them wait.
const LANES: usize = 6;

/// Where code of Rowspout itself panicked.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn watch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location();
            if let Some(place) = place.filter(|place| place.file().starts_with("src/")) {
                PANICS.lock().unwrap().push(place.to_string());
            }
            before(panic);
        }));
    });
}

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is {value}")),
    )
}

/// How often what came of faults of one kind.
#[derive(Default)]
struct Tally {
    played: u64,
    happened: u64,
    outcomes: BTreeMap<Outcome, u64>,
}

#[derive(Default)]
struct Results {
    tallies: BTreeMap<String, Tally>,
    wrong: Vec<String>,
}

impl Results {
    fn put(&mut self, seed: u64, fault: &Fault, result: Result<(Outcome, bool), String>) {
        let tally = self.tallies.entry(fault.label()).or_default();
        tally.played += 1;
        let result = match PANICS.lock().unwrap().pop() {
            Some(place) => Err(format!("Rowspout panicked at {place}")),
            None => result,
        };
        match result {
            Ok((outcome, happened)) => {
                tally.happened += u64::from(happened);
                *tally.outcomes.entry(outcome).or_default() += 1;
            }
            Err(what) => {
                let number = fault.number;
                let wrong = format!(
                    "fault {number} of seed {seed}: {what}\n  {fault:?}\n  play it alone: ROWSPOUT_FAULTS_SEED={seed} \
                     ROWSPOUT_FAULTS_ONLY={number} cargo test --test it faults -- --nocapture"
                );
                eprintln!("{wrong}");
                self.wrong.push(wrong);
            }
        }
    }

    fn print(&self, seed: u64) {
        let columns = [
            (Outcome::Whole, "whole"),
            (Outcome::Refused, "status"),
            (Outcome::Aborted, "aborted"),
            (Outcome::Exit, "exit code"),
            (Outcome::Receipt, "by receipt"),
            (Outcome::Garbled, "garbled"),
        ];
        let mut lines = format!(
            "{:<38} {:>7} {:>9}",
            format!("seed {seed}"),
            "played",
            "happened"
        );
        for (_, name) in columns {
            lines.push_str(&format!(" {name:>10}"));
        }
        for (label, tally) in &self.tallies {
            lines.push_str(&format!(
                "\n{label:<38} {:>7} {:>9}",
                tally.played, tally.happened
            ));
            for (outcome, _) in columns {
                let count = tally.outcomes.get(&outcome).copied().unwrap_or(0);
                lines.push_str(&format!(" {count:>10}"));
            }
        }
        println!("{lines}");
    }
}

/// A file that a proxy in front of the client ended early looks whole to a client that asks for no receipt. If Rowspout
/// had sent it so, that would have to be seen here.
async fn check_the_judge(world: &Arc<World>) {
    let mut lane = Lane::new(world, 0).await;
    for kind in [Kind::Polite, Kind::Garble(1)] {
        let fault = Fault::behind_rowspout(kind);
        let outcome = lane.play(&fault).await;
        assert_eq!(outcome, Ok((Outcome::Receipt, true)));
        let judged = Fault {
            end: End::Server,
            ..fault.clone()
        };
        let outcome = lane.play_as(&fault, &judged).await;
        assert!(outcome.is_err(), "{outcome:?}");
    }
}

/// An answer whose `Transfer-Encoding` was garbled on its way lasts until its connection is closed, which is done to one that is
/// kept and not used. The client gets the chunks' sizes as a part of the file, and only the receipt tells.
async fn check_lost_framing(world: &Arc<World>) {
    let mut lane = Lane::new(world, 1).await;
    let mut fault = Fault::behind_rowspout(Kind::Garble(1));
    let at = lane.header(&fault.export, "transfer-encoding").await;
    fault.spot = Spot::Head(at);
    let outcome = lane.play(&fault).await;
    assert_eq!(outcome, Ok((Outcome::Receipt, true)));
}

/// A visitor's text that looks like an error makes the client leave a query before its checksum. What was garbled in front of it
/// must not be in a file.
async fn check_texts_like_errors(world: &Arc<World>) {
    let mut lane = Lane::new(world, 0).await;
    let mut failed = 0;
    for part in 1..20 {
        let fault = Fault::in_compressed_rows(part * 50_000);
        let (outcome, _) = lane.play(&fault).await.expect("the file, or none");
        failed += u32::from(outcome == Outcome::Exit);
    }
    assert!(failed > 0, "nothing was garbled");
}

/// One number decides which rows are exported. Garbled, it gives a file with other rows over a plain wire, and must give none
/// where the wire has checksums.
async fn check_the_moment(world: &Arc<World>) {
    let mut lane = Lane::new(world, 1).await;
    let mut garbled = 0;
    for from_end in 15..23 {
        let fault = Fault::in_the_moment(WireCompression::None, from_end);
        let (outcome, _) = lane.play(&fault).await.expect("a file, or none");
        garbled += u32::from(outcome == Outcome::Garbled);
    }
    assert!(garbled > 0, "the moment is somewhere else");
    for from_end in 0..48 {
        let fault = Fault::in_the_moment(WireCompression::Zstd, from_end);
        let outcome = lane.play(&fault).await;
        assert!(
            matches!(outcome, Ok((Outcome::Whole | Outcome::Exit, true))),
            "{from_end} bytes before the end: {outcome:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_breaks_leaves_the_whole_file_or_a_failure_that_is_seen() {
    watch_panics();
    let seed = setting("ROWSPOUT_FAULTS_SEED").unwrap_or(DEFAULT_SEED);
    let numbers = match setting("ROWSPOUT_FAULTS_ONLY") {
        Some(only) => only..only + 1,
        None => 0..setting("ROWSPOUT_FAULTS").unwrap_or(DEFAULT_FAULTS),
    };
    let world = Arc::new(World::new().await);
    tokio::join!(
        check_the_judge(&world),
        check_the_moment(&world),
        check_texts_like_errors(&world),
        check_lost_framing(&world),
    );
    let (killing, others): (Vec<_>, Vec<_>) = numbers
        .map(|number| Fault::of(seed, number))
        .partition(|fault| fault.kind == Kind::Kill);
    let results = Arc::new(Mutex::new(Results::default()));
    let begun = Instant::now();
    let (others, next) = (Arc::new(others), Arc::new(AtomicU64::new(0)));
    let mut lanes = Vec::new();
    for number in 0..LANES {
        let (world, others, next) = (world.clone(), others.clone(), next.clone());
        let results = results.clone();
        lanes.push(tokio::spawn(async move {
            let mut lane = Lane::new(&world, number % 2).await;
            while let Some(fault) = others.get(next.fetch_add(1, Ordering::SeqCst) as usize) {
                let result = lane.play(fault).await;
                results.lock().unwrap().put(seed, fault, result);
            }
        }));
    }
    for lane in lanes {
        lane.await.expect("a lane");
    }
    // An engine's end is everybody's, so these are played alone.
    let mut lane = Lane::new(&world, 0).await;
    for fault in &killing {
        let result = lane.play(fault).await;
        results.lock().unwrap().put(seed, fault, result);
    }
    drop(lane);
    let ended = Instant::now();
    while world.running().await > 0 {
        let left = ended.elapsed();
        assert!(left < Duration::from_secs(30), "queries still run");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let results = results.lock().unwrap();
    results.print(seed);
    println!("{:.0} s", begun.elapsed().as_secs_f64());
    assert!(
        results.wrong.is_empty(),
        "{} outcomes that must not be:\n{}",
        results.wrong.len(),
        results.wrong.join("\n")
    );
}
