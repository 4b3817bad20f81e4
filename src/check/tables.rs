//! Whether the tables are there, as they should be, and may be read.

use super::session::Session;
use super::{Findings, said};
use crate::cursor::table::{Misfit, describe, misfits};
use crate::error::Error;
use crate::schema;

/// A table's name with its database.
pub(super) struct Name {
    pub(super) database: String,
    pub(super) table: String,
}

impl Name {
    /// Of `table` or `database.table`.
    pub(super) fn of(table: &str, database: &str) -> Self {
        let (database, table) = table.split_once('.').unwrap_or((database, table));
        Self {
            database: database.to_owned(),
            table: table.to_owned(),
        }
    }

    /// As it stands in statements.
    pub(super) fn quoted(&self) -> String {
        let quote = |name: &str| format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"));
        format!("{}.{}", quote(&self.database), quote(&self.table))
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.database, self.table)
    }
}

/// Looks at a table of Rowspout's own. Whether it can be used.
pub(super) async fn own(session: &Session, name: &Name, findings: &mut Findings) -> bool {
    let about = format!("table {}", name.table);
    let Some(described) = described(session, name, findings).await else {
        return false;
    };
    let columns = schema::columns(&name.table);
    let found = |column: &str| {
        let found = described.iter().find(|described| described.name == column);
        found.map(|described| described.column_type.as_str())
    };
    let missing: Vec<_> = columns
        .iter()
        .filter(|(column, _)| found(column).is_none())
        .map(|(column, _)| *column)
        .collect();
    if !missing.is_empty() {
        findings.fail(
            about,
            format!("lacks {}", missing.join(", ")),
            "add them with `rowspout schema apply`",
        );
        return false;
    }
    let names: Vec<_> = columns.iter().map(|(column, _)| *column).collect();
    let read = format!("SELECT {} FROM {} LIMIT 0", names.join(", "), name.quoted());
    if let Err(error) = session.run(&read).await {
        unreadable(session, name, &error, findings);
        return false;
    }
    let others: Vec<_> = columns
        .iter()
        .filter_map(|(column, wanted)| {
            let found = found(column).filter(|found| found != wanted)?;
            Some(format!("{column} is {found} instead of {wanted}"))
        })
        .collect();
    if others.is_empty() {
        findings.ok(about, format!("{} columns", columns.len()));
    } else {
        let remedy = "make it as `rowspout schema print` shows, or be sure that these types do";
        findings.warn(about, others.join(", "), remedy);
    }
    true
}

/// Looks at the table or view of events. Its engine, where exports can read it.
pub(super) async fn events(
    session: &Session,
    name: &Name,
    findings: &mut Findings,
) -> Option<String> {
    let described = described(session, name, findings).await?;
    let misfits: Vec<_> = misfits(&described)
        .map(|misfit| {
            let Misfit {
                column,
                found,
                wanted,
            } = misfit;
            format!("the column {column} is {found}, and exports need {wanted}")
        })
        .collect();
    let engine = described.first()?.engine.clone();
    let about = format!("table {}", name.table);
    if misfits.is_empty() {
        findings.ok(about, format!("{} columns, {engine}", described.len()));
        return Some(engine);
    }
    findings.fail(
        about,
        misfits.join(", "),
        "name a view that converts them with events_table, as schema/README.md shows",
    );
    None
}

/// The table's columns. Where none are to be seen, why is the finding.
async fn described(
    session: &Session,
    name: &Name,
    findings: &mut Findings,
) -> Option<Vec<crate::cursor::table::Described>> {
    let clickhouse = &session.clickhouse;
    let described = describe(
        &session.client,
        &clickhouse.url,
        &name.database,
        &name.table,
    );
    match described.await {
        Ok(described) if !described.is_empty() => return Some(described),
        Err(error) => unreadable(session, name, &error, findings),
        // Nobody sees what he may not read.
        Ok(_) => match session
            .run(&format!("SELECT 1 FROM {} LIMIT 0", name.quoted()))
            .await
        {
            Err(error) => unreadable(session, name, &error, findings),
            Ok(()) => findings.fail(
                format!("table {}", name.table),
                "its columns cannot be seen",
                format!("GRANT SHOW COLUMNS ON {name} TO {}", session.user),
            ),
        },
    }
    None
}

fn unreadable(session: &Session, name: &Name, error: &Error, findings: &mut Findings) {
    let about = format!("table {}", name.table);
    match error.clickhouse_code() {
        Some(60 | 81) => findings.fail(
            about,
            format!("there is no {name}"),
            "create the tables with `rowspout schema apply`, or name them with clickhouse_database and events_table",
        ),
        Some(497) => findings.fail(
            about,
            format!("{} may not read it", session.user),
            format!(
                "GRANT SELECT ON {name} TO {}; `rowspout schema users` prints all that is needed",
                session.user
            ),
        ),
        _ => findings.fail(about, said(error), "look at ClickHouse's own log"),
    }
}
