//! Whether ClickHouse is as `serve` and `export` need it.
//!
//! In: the settings. Out: findings, of each replica by itself and of all of them together, each with what to do about it.
//! Costs some ten short queries a replica. Reads no event and writes nothing: what may be written is found out by an INSERT
//! of no rows.

mod clocks;
mod counts;
mod grants;
mod parts;
mod session;
mod tables;

use std::fmt;

pub use clocks::{Skew, beside_ours, between};

use self::session::Session;
use crate::config::{ClickHouse, Config};
use crate::error::Error;

/// How a finding stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Exports work, but not as well or as safely as they could.
    Warning,
    /// Exports, or their receipts, will fail.
    Failed,
}

/// One thing that was looked at. Its text is one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it stands.
    pub verdict: Verdict,
    /// The replica's address, or `all replicas`.
    pub place: String,
    /// What was looked at.
    pub about: String,
    /// What was found.
    pub text: String,
    /// What to do about it; nothing where all is well.
    pub remedy: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "failed",
        };
        let Self {
            place, about, text, ..
        } = self;
        write!(f, "{verdict:<8} {place} {about}: {text}")?;
        match &self.remedy {
            Some(remedy) => write!(f, ". What to do: {remedy}"),
            None => Ok(()),
        }
    }
}

/// What was found at one place so far.
struct Findings {
    place: String,
    all: Vec<Finding>,
}

impl Findings {
    fn at(place: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            all: Vec::new(),
        }
    }

    fn put(
        &mut self,
        verdict: Verdict,
        about: impl Into<String>,
        text: impl AsRef<str>,
        remedy: Option<String>,
    ) {
        self.all.push(Finding {
            verdict,
            place: self.place.clone(),
            about: about.into(),
            text: one_line(text.as_ref()),
            remedy,
        });
    }

    fn ok(&mut self, about: impl Into<String>, text: impl AsRef<str>) {
        self.put(Verdict::Ok, about, text, None);
    }

    fn warn(&mut self, about: impl Into<String>, text: impl AsRef<str>, remedy: impl Into<String>) {
        self.put(Verdict::Warning, about, text, Some(remedy.into()));
    }

    fn fail(&mut self, about: impl Into<String>, text: impl AsRef<str>, remedy: impl Into<String>) {
        self.put(Verdict::Failed, about, text, Some(remedy.into()));
    }
}

/// Longest text of a finding, in characters: ClickHouse repeats whole statements.
const MAX_TEXT: usize = 600;

fn one_line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").chars().take(MAX_TEXT).collect()
}

/// An error with all that is under it.
fn said(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// Looks at every replica of the settings, one after the other.
pub async fn run(config: &Config) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut skews = Vec::new();
    for replica in config.clickhouse.replicas() {
        let mut findings = Findings::at(&replica.url);
        skews.extend(look_at(config, replica, &mut findings).await);
        found.extend(findings.all);
    }
    if skews.len() > 1 {
        let mut findings = Findings::at("all replicas");
        let (verdict, text, remedy) = between(&skews);
        findings.put(verdict, "clocks", text, remedy);
        found.extend(findings.all);
    }
    found
}

/// Looks at one replica. Tells its clock where it answers.
async fn look_at(config: &Config, replica: ClickHouse, findings: &mut Findings) -> Option<Skew> {
    let reader = Session::open(replica.clone(), "clickhouse_user", findings).await?;
    session::version(&reader, findings);
    let (verdict, text, remedy) = beside_ours(reader.skew);
    findings.put(verdict, "clock", text, remedy);
    let log = config.log_clickhouse();
    let log = ClickHouse {
        url: replica.url.clone(),
        ..log
    };
    let keeper = match config.log_user {
        None => None,
        Some(_) => Some(Session::open(log, "log_user", findings).await),
    };
    let events = tables::Name::of(&config.events_table, &replica.database);
    for table in ["websites", "api_keys"] {
        let name = tables::Name::of(table, &replica.database);
        tables::own(&reader, &name, findings).await;
    }
    let engine = tables::events(&reader, &events, findings).await;
    let one = Config {
        clickhouse: replica.clone(),
        ..config.clone()
    };
    if engine.is_some() {
        grants::rehearse(&one, findings).await;
    }
    let export_log = tables::Name::of("export_log", &replica.database);
    let keeper = match &keeper {
        None => Some(&reader),
        Some(keeper) => keeper.as_ref(),
    };
    if let Some(keeper) = keeper
        && tables::own(keeper, &export_log, findings).await
    {
        grants::writes_log(keeper, &export_log, findings).await;
    }
    grants::kills(&reader, findings).await;
    grants::no_more(&reader, &events, findings).await;
    if let Some(keeper) = keeper.filter(|_| config.log_user.is_some()) {
        grants::no_more(keeper, &events, findings).await;
    }
    if let Some(engine) = engine {
        counts::kept(&reader, &events, &engine, findings).await;
        parts::lie(&reader, &events, &engine, findings).await;
    }
    Some(reader.skew)
}
