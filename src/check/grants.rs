//! Whether the users may do what exports need, and no more.

use super::session::Session;
use super::tables::Name;
use super::{Findings, said};
use crate::config::Config;
use crate::cursor::{Server, failure};
use crate::error::{Error, Result};
use crate::export::ExportId;
use crate::request::{ExportRequest, WebsiteId};
use crate::schema;

/// A website that nobody has, and a day in which it has no events.
const SITE: &str = "site_rowspout_check";
const DAY: &str = "2000-01-01";

/// Runs an export of no rows, under the limits and settings of a real one.
pub(super) async fn rehearse(config: &Config, findings: &mut Findings) {
    let about = "export of nothing";
    let error = match rehearsed(config).await {
        Ok(()) => return findings.ok(about, "every statement of an export runs"),
        Err(error) => error,
    };
    let remedy = match error.clickhouse_code() {
        Some(497) => "give the user what `rowspout schema users` prints".to_owned(),
        Some(164) => "give the user a profile with readonly = 2, or 0, instead of 1".into(),
        Some(452) => "lower max_query_seconds or max_query_bytes, or let the user's profile allow the setting".into(),
        _ => "look at ClickHouse's own log".into(),
    };
    findings.fail(about, said(&error), remedy);
}

async fn rehearsed(config: &Config) -> Result<()> {
    let website = WebsiteId::parse(SITE).ok_or_else(|| Error::internal("no website's name"))?;
    let server = Server::new(config);
    let day = vec![("start_date", DAY), ("end_date", DAY)];
    // Whatever reads event_data's JSON stands in no other statement.
    let filtered = [&day[..], &[("data.a", "1")]].concat();
    for pairs in [day, filtered] {
        let pairs = pairs.into_iter();
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let request = ExportRequest::from_pairs(website.clone(), pairs)?;
        let id = ExportId::random()?;
        server.rehearse(&request, id.as_str()).await?;
    }
    Ok(())
}

/// Whether the log can be written: by an INSERT of no rows.
pub(super) async fn writes_log(session: &Session, name: &Name, findings: &mut Findings) {
    let about = "log of exports";
    let columns = schema::columns(&name.table);
    let columns: Vec<_> = columns.iter().map(|(column, _)| *column).collect();
    let (columns, table) = (columns.join(", "), name.quoted());
    let insert = format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM {table} WHERE 0");
    let user = &session.user;
    match session.run(&insert).await {
        Ok(()) => findings.ok(about, format!("{user} may write it")),
        Err(error) => findings.fail(
            about,
            match error.clickhouse_code() {
                Some(164 | 497) => format!("{user} may not write it, so there will be no receipts"),
                _ => said(&error),
            },
            "name a user that may with log_user: `rowspout schema users` prints one",
        ),
    }
}

/// Whether queries can be ended: one that does not exist is.
pub(super) async fn kills(session: &Session, findings: &mut Findings) {
    let about = "ending queries";
    let kill = session
        .client
        .query_raw("KILL QUERY WHERE query_id = {query_id:String} ASYNC")
        .param("query_id", SITE)
        .execute();
    match failure::in_time(kill, &session.clickhouse.url).await {
        Ok(()) => findings.ok(about, format!("{} may end its own", session.user)),
        Err(error) => findings.warn(
            about,
            said(&error),
            format!(
                "GRANT SELECT(query_id, user, query) ON system.processes TO {}: else queries go on when clients have left",
                session.user
            ),
        ),
    }
}

/// What nobody needs to export: a right, whether it is one over the events alone, and whether `readonly` takes it away.
const TOO_MUCH: [(&str, bool, bool); 8] = [
    ("INSERT", true, true),
    ("ALTER", true, true),
    ("DROP TABLE", true, true),
    ("TRUNCATE", true, true),
    ("SELECT", false, false),
    ("CREATE USER", false, true),
    ("SHUTDOWN", false, true),
    ("FILE", false, false),
];

/// Whether the user has rights that exports do not need.
pub(super) async fn no_more(session: &Session, events: &Name, findings: &mut Findings) {
    let about = format!("rights of {}", session.user);
    let cannot_ask = |error: Error| {
        (
            said(&error),
            format!(
                "look yourself: SHOW GRANTS FOR {}, beside what `rowspout schema users` prints",
                session.user
            ),
        )
    };
    match superfluous(session, events).await {
        Ok(Superfluous { rights, readonly }) if rights.is_empty() => findings.ok(
            about,
            if readonly {
                "none that exports do not need: its profile is read-only"
            } else {
                "none that exports do not need"
            },
        ),
        Ok(Superfluous { rights, .. }) => findings.warn(
            about,
            format!("it may also {}", rights.join(", ")),
            "use the users that `rowspout schema users` prints, so that nobody who gets hold of a password can do harm",
        ),
        Err(error) => {
            let (text, remedy) = cannot_ask(error);
            findings.warn(about, text, remedy);
        }
    }
}

struct Superfluous {
    rights: Vec<String>,
    readonly: bool,
}

async fn superfluous(session: &Session, events: &Name) -> Result<Superfluous> {
    let url = &session.clickhouse.url;
    let readonly = session
        .client
        .query_raw("SELECT toUInt8(getSetting('readonly')) AS readonly")
        .fetch_one::<u8>();
    let readonly = failure::in_time(readonly, url).await? > 0;
    let mut rights = Vec::new();
    for (right, over_events, is_write) in TOO_MUCH {
        if readonly && is_write {
            continue;
        }
        let (place, told) = if over_events {
            (events.quoted(), events.to_string())
        } else {
            ("*.*".to_owned(), "*.*".to_owned())
        };
        let sql = format!("CHECK GRANT {right} ON {place}");
        let granted = session.client.query_raw(&sql).fetch_one::<u8>();
        if failure::in_time(granted, url).await? == 1 {
            rights.push(format!("{right} ON {told}"));
        }
    }
    Ok(Superfluous { rights, readonly })
}
