//! A seeded plan: what is asked for, what happens to it, and where.

use rowspout::cursor::WireCompression;
use rowspout::decode::Wire;

use super::random::Random;

/// One fault: an export, and what befalls it.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) number: u64,
    pub(crate) end: End,
    pub(crate) kind: Kind,
    /// Which answer it befalls, and where in it.
    pub(crate) target: Target,
    pub(crate) spot: Spot,
    /// Whether it befalls every further answer of the kind as well.
    pub(crate) repeats: bool,
    pub(crate) export: Ask,
}

/// Between which two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// ClickHouse and Rowspout.
    Server,
    /// Rowspout and the client.
    Client,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The connection is closed.
    Fin,
    /// The connection is reset.
    Rst,
    /// Nothing comes for so many milliseconds, then the rest.
    Stall(u64),
    /// Nothing comes any more.
    StallForGood,
    /// A few bytes at a time.
    Trickle,
    /// These bits of a byte are flipped.
    Garble(u8),
    /// The answer ends as if it were complete.
    Polite,
    /// ClickHouse's text of an error.
    Exception {
        dialect: Dialect,
        code: u16,
        pieces: Pieces,
        ending: Ending,
    },
    /// The engine is killed, and started again later.
    Kill,
}

/// How ClickHouse writes an error behind the first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Up to 24.10.
    Plain,
    /// 24.11 to 25.10.
    Marked,
    /// 25.11 on.
    Tagged,
}

/// How its text comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pieces {
    /// In a chunk of its own.
    Own,
    /// In one chunk with rows.
    Joined,
    /// In two chunks, cut at this thousandth of it.
    Split(u16),
    /// In a chunk for each byte.
    Bytes,
}

/// What follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The last chunk: the answer looks complete.
    Polite,
    Fin,
    Rst,
}

/// One of the answers that an export needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// Rows of the n-th cursor.
    Rows(usize),
    /// The counts of the window.
    Plan,
    /// The n-th proof.
    Proof(usize),
    /// What is asked before the rows.
    Before(usize),
    /// The export itself, on its way to the client.
    Export,
}

/// Where in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot {
    /// Before the request is passed on.
    Unsent,
    /// Before the first byte.
    Unanswered,
    /// At this byte.
    Head(u32),
    /// At this millionth.
    Middle(u32),
    /// At the end of the row (native: of the block) that is there.
    RowEnd(u32),
    /// So many bytes before the end.
    Tail(u32),
}

/// An export as it is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) site: &'static str,
    pub(crate) format: &'static str,
    pub(crate) way: Way,
    pub(crate) wire: Wire,
    pub(crate) compression: WireCompression,
    pub(crate) parallel: usize,
    /// How many addresses of ClickHouse Rowspout knows.
    pub(crate) replicas: usize,
    /// Whether a query may only take a second.
    pub(crate) impatient: bool,
}

/// By which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// HTTP/1.1 with this `Accept-Encoding`.
    Http1(&'static str),
    Http2,
    /// `rowspout export`.
    Command,
}

/// Rows that came lately, which an export proves at its end.
pub(crate) const FRESH: &str = "site_demo";
/// The same rows, long there, and some whose text looks like an error.
pub(crate) const SETTLED: &str = "site_settled";
/// Rows enough for several cursors.
pub(crate) const WIDE: &str = "site_wide";

pub(crate) const FORMATS: [&str; 4] = ["csv", "json", "ndjson", "parquet"];

/// What kinds there are, in the proportions of the plan.
const DECK: [&str; 40] = [
    "fin",
    "polite",
    "exception",
    "garble",
    "client fin",
    "rst",
    "garble zstd",
    "exception",
    "polite",
    "trickle",
    "exception",
    "fin",
    "client rst",
    "stall",
    "garble",
    "exception",
    "rst",
    "polite",
    "garble zstd",
    "client trickle",
    "exception",
    "fin",
    "garble",
    "rst",
    "exception",
    "client polite",
    "polite",
    "exception",
    "stall",
    "garble zstd",
    "fin",
    "client stall",
    "exception",
    "polite",
    "client fin",
    "rst",
    "trickle",
    "garble",
    "client rst",
    "client garble",
];

/// Every so many faults an engine is killed.
const KILLS: u64 = 50;
/// Every so many faults a stream stops for good; that takes half a minute.
const STOPS: u64 = 200;

impl Fault {
    /// Fault `number` of a plan.
    pub(crate) fn of(seed: u64, number: u64) -> Self {
        let mut random = Random::of(seed, number);
        let (end, kind, compressed) = kind(number, &mut random);
        let mut export = ask(&mut random);
        let mut target = target(&mut random);
        let mut repeats = random.percent(15);
        match kind {
            Kind::Kill => {
                export.site = random.one_of(&[SETTLED, WIDE]);
                target = Target::Rows(0);
                repeats = false;
            }
            Kind::StallForGood => {
                export.impatient = true;
                target = Target::Rows(0);
            }
            Kind::Stall(_) | Kind::Trickle => repeats = false,
            Kind::Garble(_) => {
                export.compression = match compressed {
                    true => WireCompression::Zstd,
                    false => WireCompression::None,
                };
                // What is taken over from one cursor by others is not read to its checksum.
                export.parallel = if compressed { 1 } else { export.parallel };
            }
            Kind::Exception { .. } => target = random.one_of(&[Target::Rows(0), target]),
            _ => {}
        }
        match target {
            // Settled rows are proved by the plan.
            Target::Proof(_) => export.site = FRESH,
            Target::Rows(1..) => {
                export.site = WIDE;
                export.parallel = 3;
            }
            _ => {}
        }
        if end == End::Client {
            target = Target::Export;
            repeats = false;
            export.way = random.one_of(&[
                Way::Http1(""),
                Way::Http1(""),
                Way::Http1("zstd"),
                Way::Http1("gzip"),
                Way::Http1("br"),
                Way::Http2,
            ]);
            if matches!(kind, Kind::Polite | Kind::Garble(_)) {
                // The proxy takes HTTP/1.1 apart, and what is wrong must not be seen by a compression.
                export.way = Way::Http1("");
            }
        }
        let spot = spot(kind, end, &mut random);
        Self {
            number,
            end,
            kind,
            target,
            spot,
            repeats,
            export,
        }
    }

    /// A fault in the middle of a CSV on its way to the client.
    pub(crate) fn behind_rowspout(kind: Kind) -> Self {
        Self {
            number: u64::MAX,
            end: End::Client,
            kind,
            target: Target::Export,
            spot: Spot::Middle(500_000),
            repeats: false,
            export: Ask {
                site: SETTLED,
                format: "csv",
                way: Way::Http1(""),
                wire: Wire::RowBinary,
                compression: WireCompression::Zstd,
                parallel: 1,
                replicas: 1,
                impatient: false,
            },
        }
    }

    /// A bit flipped in the moment up to which rows are exported, so many bytes before the end of that answer.
    pub(crate) fn in_the_moment(compression: WireCompression, from_end: u32) -> Self {
        Self {
            number: u64::MAX,
            end: End::Server,
            kind: Kind::Garble(1),
            target: Target::Before(0),
            spot: Spot::Tail(from_end),
            repeats: false,
            export: Ask {
                site: SETTLED,
                format: "csv",
                way: Way::Command,
                wire: Wire::RowBinary,
                compression,
                parallel: 1,
                replicas: 1,
                impatient: false,
            },
        }
    }

    /// A bit flipped in rows that are compressed with checksums, at this millionth.
    pub(crate) fn in_compressed_rows(millionth: u32) -> Self {
        Self {
            target: Target::Rows(0),
            spot: Spot::Middle(millionth),
            kind: Kind::Garble(2),
            ..Self::in_the_moment(WireCompression::Zstd, 0)
        }
    }

    /// What it is counted as.
    pub(crate) fn label(&self) -> String {
        let end = match self.end {
            End::Server => "clickhouse",
            End::Client => "client",
        };
        let kind = match self.kind {
            Kind::Fin => "cut (FIN)",
            Kind::Rst => "cut (RST)",
            Kind::Stall(_) => "stall",
            Kind::StallForGood => "stall for good",
            Kind::Trickle => "trickle",
            Kind::Garble(_) if self.export.compression == WireCompression::Zstd => "garble, zstd",
            Kind::Garble(_) => "garble",
            Kind::Polite => "polite early end",
            Kind::Exception { dialect, .. } => match dialect {
                Dialect::Plain => "exception to 24.10",
                Dialect::Marked => "exception to 25.10",
                Dialect::Tagged => "exception from 25.11",
            },
            Kind::Kill => "kill -9",
        };
        format!("{end}: {kind}")
    }
}

fn kind(number: u64, random: &mut Random) -> (End, Kind, bool) {
    if number % KILLS == KILLS / 2 {
        return (End::Server, Kind::Kill, false);
    }
    if number % STOPS == STOPS - 1 {
        return (End::Server, Kind::StallForGood, false);
    }
    let name = DECK[(number % DECK.len() as u64) as usize];
    let (end, name) = match name.strip_prefix("client ") {
        Some(name) => (End::Client, name),
        None => (End::Server, name),
    };
    let kind = match name {
        "fin" => Kind::Fin,
        "rst" => Kind::Rst,
        "stall" => Kind::Stall(500 + random.below(5_500)),
        "trickle" => Kind::Trickle,
        "garble" | "garble zstd" => Kind::Garble(random.one_of(&[1, 2, 4, 0x20, 0x80, 0xff])),
        "polite" => Kind::Polite,
        _ => Kind::Exception {
            dialect: random.one_of(&[Dialect::Plain, Dialect::Marked, Dialect::Tagged]),
            code: random.one_of(&[241, 159, 394, 202, 999]),
            pieces: match random.below(4) {
                0 => Pieces::Own,
                1 => Pieces::Joined,
                2 => Pieces::Split(random.below(1_000) as u16),
                _ => Pieces::Bytes,
            },
            ending: random.one_of(&[Ending::Polite, Ending::Polite, Ending::Fin, Ending::Rst]),
        },
    };
    (end, kind, name == "garble zstd")
}

fn ask(random: &mut Random) -> Ask {
    let site = match random.below(100) {
        0..12 => WIDE,
        12..56 => SETTLED,
        _ => FRESH,
    };
    Ask {
        site,
        format: random.one_of(&FORMATS),
        way: match random.below(10) {
            0..5 => Way::Http1(""),
            5 => Way::Http1("zstd"),
            6 => Way::Http2,
            _ => Way::Command,
        },
        wire: random.one_of(&Wire::ALL),
        compression: match random.below(10) {
            0 => WireCompression::Lz4,
            1..3 => WireCompression::Zstd,
            _ => WireCompression::None,
        },
        parallel: random.one_of(&[1, 3]),
        replicas: random.one_of(&[1, 2]),
        impatient: false,
    }
}

fn target(random: &mut Random) -> Target {
    match random.below(100) {
        0..68 => Target::Rows(0),
        68..75 => Target::Rows(1),
        75..83 => Target::Plan,
        83..91 => Target::Proof(0),
        _ => Target::Before(random.below(2) as usize),
    }
}

fn spot(kind: Kind, end: End, random: &mut Random) -> Spot {
    let anywhere = random.below(1_000_000) as u32;
    match kind {
        Kind::Kill => Spot::Middle(anywhere / 2),
        Kind::StallForGood => Spot::Middle(anywhere),
        Kind::Polite | Kind::Exception { .. } => match random.below(10) {
            0 => Spot::Middle(0),
            1..4 => Spot::Middle(anywhere),
            4..9 => Spot::RowEnd(anywhere),
            _ => Spot::Tail(0),
        },
        Kind::Garble(_) => match random.below(10) {
            0 => Spot::Head(random.below(400) as u32),
            1 => Spot::Tail(1 + random.below(40) as u32),
            _ => Spot::Middle(anywhere),
        },
        _ => match random.below(20) {
            0 if end == End::Server => Spot::Unsent,
            1 if end == End::Server => Spot::Unanswered,
            0..3 => Spot::Head(random.below(400) as u32),
            3..6 => Spot::Tail(random.below(40) as u32),
            _ => Spot::Middle(anywhere),
        },
    }
}
