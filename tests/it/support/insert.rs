//! Puts websites and events into a test's database, past `load`.

use rowspout::catalog::Catalog;
use rowspout::pushdown::columns::TEXT_COLUMNS;

use super::{TestDatabase, clickhouse};

/// A fresh database with the tables in it.
pub(crate) async fn database() -> TestDatabase {
    with_tables(clickhouse().await).await
}

/// The database with the tables in it.
pub(crate) async fn with_tables(database: TestDatabase) -> TestDatabase {
    rowspout::schema::apply(&database.config)
        .await
        .expect("tables");
    database
}

/// A fresh database with synthetic traffic in `site_demo`.
pub(crate) async fn traffic(rows: u64) -> TestDatabase {
    let database = database().await;
    website(&database, "site_demo").await;
    fill(&database, rows).await;
    database
}

/// Has events that are inserted from now on be settled, as if they had come an hour ago.
pub(crate) async fn settled(database: &TestDatabase) {
    let settled = "ALTER TABLE events MODIFY COLUMN ingested_at DEFAULT now64(3) - INTERVAL 1 HOUR";
    let settled = database.client.query_raw(settled).execute().await;
    settled.expect("a default");
}

/// As [`traffic`], all of it settled.
pub(crate) async fn settled_traffic(rows: u64) -> TestDatabase {
    let database = database().await;
    settled(&database).await;
    website(&database, "site_demo").await;
    fill(&database, rows).await;
    database
}

/// Makes synthetic traffic in `site_demo`.
pub(crate) async fn fill(database: &TestDatabase, rows: u64) {
    fill_site(database, "site_demo", rows).await;
}

/// Makes synthetic traffic in a website.
pub(crate) async fn fill_site(database: &TestDatabase, site: &str, rows: u64) {
    let site = rowspout::request::WebsiteId::parse(site).expect("an id");
    rowspout::schema::make_demo_events(&database.config, &site, rows)
        .await
        .expect("traffic");
}

/// An event as the table holds it.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) timestamp: i64,
    pub(crate) event_id: u64,
    /// 1 page view, 2 event.
    pub(crate) event_type: u8,
    pub(crate) text: [Vec<u8>; TEXT_COLUMNS.len()],
    pub(crate) is_bot: bool,
}

impl Event {
    /// A page view at an instant, with everything else absent.
    pub(crate) fn at(timestamp: i64, event_id: u64) -> Self {
        Self {
            timestamp,
            event_id,
            event_type: 1,
            text: Default::default(),
            is_bot: false,
        }
    }

    /// The same with a text in a column.
    pub(crate) fn with(mut self, column: &str, text: impl Into<Vec<u8>>) -> Self {
        let place = TEXT_COLUMNS
            .iter()
            .position(|name| *name == column)
            .expect("a text column");
        self.text[place] = text.into();
        self
    }
}

/// Adds a website.
pub(crate) async fn website(database: &TestDatabase, id: &str) {
    let id = rowspout::request::WebsiteId::parse(id).expect("an id");
    Catalog::new(&database.config)
        .add_website(&id, "A website", "UTC")
        .await
        .expect("a new website");
}

/// Inserts events of a website in one part.
pub(crate) async fn events(database: &TestDatabase, site: &str, events: &[Event]) {
    let mut rows = Vec::new();
    for event in events {
        push_string(&mut rows, site.as_bytes());
        rows.extend_from_slice(&event.timestamp.to_le_bytes());
        rows.extend_from_slice(&event.event_id.to_le_bytes());
        rows.push(event.event_type);
        for text in &event.text {
            push_string(&mut rows, text);
        }
        rows.push(event.is_bot.into());
    }
    let sql = format!(
        "INSERT INTO events (website_id, timestamp, event_id, event_type, {}, is_bot) FORMAT RowBinary",
        TEXT_COLUMNS.join(", ")
    );
    let mut insert = database
        .client
        .insert_formatted_with(sql)
        .with_setting("max_partitions_per_insert_block", "0");
    insert.send(rows.into()).await.expect("sent");
    insert.end().await.expect("inserted");
}

fn push_string(rows: &mut Vec<u8>, text: &[u8]) {
    let mut len = text.len();
    while len >= 0x80 {
        rows.push(len as u8 | 0x80);
        len >>= 7;
    }
    rows.push(len as u8);
    rows.extend_from_slice(text);
}
