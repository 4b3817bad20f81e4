//! Whether a replica answers a user, and what it says of itself.

use std::time::{Instant, SystemTime};

use serde::Deserialize;

use super::clocks::Skew;
use super::{Findings, said};
use crate::config::ClickHouse;
use crate::cursor::failure;
use crate::error::{Error, ErrorKind};

/// The oldest version that Rowspout was measured with.
const OLDEST: (u32, u32) = (24, 10);

/// One user at one replica.
pub(super) struct Session {
    pub(super) clickhouse: ClickHouse,
    pub(super) client: clickhouse::Client,
    /// Its name, as ClickHouse has it.
    pub(super) user: String,
    pub(super) version: String,
    pub(super) skew: Skew,
}

#[derive(clickhouse::Row, Deserialize)]
struct Greeting {
    version: String,
    user: String,
    now: i64,
}

impl Session {
    /// Asks the replica as the user of a setting. Where there is no answer, that is the finding.
    pub(super) async fn open(
        clickhouse: ClickHouse,
        setting: &str,
        findings: &mut Findings,
    ) -> Option<Self> {
        let about = format!("answer to {setting}");
        let client = clickhouse.client();
        let (asked, begun) = (SystemTime::now(), Instant::now());
        let greeting = client
            .query_raw(
                "SELECT version() AS version, currentUser() AS user, toUnixTimestamp64Milli(now64(3)) AS now",
            )
            .fetch_one::<Greeting>();
        match failure::in_time(greeting, &clickhouse.url).await {
            Ok(greeting) => {
                findings.ok(about, format!("as the user {}", greeting.user));
                Some(Self {
                    skew: Skew::of(greeting.now, asked, begun.elapsed()),
                    client,
                    clickhouse,
                    user: greeting.user,
                    version: greeting.version,
                })
            }
            Err(error) => {
                let remedy = remedy(&error, setting, &clickhouse.database);
                findings.fail(about, said(&error), remedy);
                None
            }
        }
    }

    /// Runs a statement whose result nobody needs.
    pub(super) async fn run(&self, sql: &str) -> Result<(), Error> {
        let run = self.client.query_raw(sql).execute();
        failure::in_time(run, &self.clickhouse.url).await
    }
}

fn remedy(error: &Error, setting: &str, database: &str) -> String {
    match (error.clickhouse_code(), error.kind()) {
        (Some(81), _) => format!(
            "create the database {database} with `rowspout schema apply`, or name another with clickhouse_database"
        ),
        (Some(192..=194 | 516), _) => {
            let password = setting.replace("user", "password");
            format!("check {setting} and {password}; `rowspout schema users` prints the users that Rowspout needs")
        }
        (_, ErrorKind::Unavailable) => {
            "see that ClickHouse runs, and that clickhouse_url names its HTTP interface (port 8123, or 8443 with https)".into()
        }
        _ => "look at ClickHouse's own log".into(),
    }
}

/// What to say of the replica's version.
pub(super) fn version(session: &Session, findings: &mut Findings) {
    let version = &session.version;
    let mut numbers = version.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= OLDEST => {
            findings.ok("version", version);
        }
        _ => findings.warn(
            "version",
            version,
            format!(
                "update ClickHouse: {}.{} is the oldest version that Rowspout was measured with",
                OLDEST.0, OLDEST.1
            ),
        ),
    }
}
