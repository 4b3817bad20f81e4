//! The three programs that are compared.

use std::process::Command;

use rowspout::catalog::Catalog;
use rowspout::config::{Config, Layer};
use rowspout::cursor::{ByteSource as _, Server};
use rowspout::demo;
use rowspout::pushdown::{Form, Parts, Range, columns::COLUMNS};
use rowspout::request::{ExportRequest, Format, WebsiteId};

use super::tables::{Tables, TestBed, programs_executable};

/// Marks a start of the bench as one of its own programs.
pub(crate) const CHILD: &str = "--program";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// `rowspout export`.
    Rowspout,
    /// The same cursor, read to nowhere.
    Drain,
    /// ClickHouse's own FORMAT.
    Own,
}

impl Program {
    pub(crate) const ALL: [Self; 3] = [Self::Rowspout, Self::Drain, Self::Own];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rowspout => "rowspout",
            Self::Drain => "drain",
            Self::Own => "own FORMAT",
        }
    }

    /// The process to measure.
    pub(crate) fn command(self, bed: &TestBed, tables: Tables, format: Format) -> Command {
        let mut command = match self {
            Self::Rowspout => {
                let mut command = Command::new(programs_executable());
                command.args([
                    "export",
                    "--site",
                    demo::SITE,
                    "--start",
                    demo::START,
                    "--end",
                    demo::END,
                ]);
                command.args(["--include-bots", "--format", format.as_str()]);
                command
            }
            Self::Drain | Self::Own => {
                let mut command = Command::new(std::env::current_exe().expect("this program"));
                command.args([CHILD, self.as_str(), format.as_str()]);
                command
            }
        };
        command
            .env("ROWSPOUT_CLICKHOUSE_URL", &bed.clickhouse.url)
            .env("ROWSPOUT_CLICKHOUSE_DATABASE", tables.database());
        if let Some(user) = &bed.clickhouse.user {
            command.env("ROWSPOUT_CLICKHOUSE_USER", user);
        }
        if let Some(password) = &bed.clickhouse.password {
            command.env("ROWSPOUT_CLICKHOUSE_PASSWORD", password);
        }
        command
    }
}

/// Runs one of the programs that are no command of Rowspout.
pub(crate) async fn child(arguments: &[String]) {
    let environment = Layer::from_environment().expect("settings");
    let config =
        Config::resolve(Layer::default(), environment, Layer::default()).expect("settings");
    let format = Format::from_name(&arguments[1]).expect("a format");
    match arguments[0].as_str() {
        "drain" => drain(&config, format).await,
        _ => own_format(&config, format).await,
    }
}

/// Reads an export's cursor to its end.
async fn drain(config: &Config, format: Format) {
    let site = WebsiteId::parse(demo::SITE).expect("an id");
    let pairs = [
        ("start_date", demo::START),
        ("end_date", demo::END),
        ("format", format.as_str()),
        ("include_bots", "true"),
    ];
    let request = ExportRequest::from_pairs(
        site.clone(),
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())),
    )
    .expect("a request");
    let fence = Catalog::new(&config.clickhouse)
        .fence(&site)
        .await
        .expect("a fence");
    let server = Server::new(config);
    server.check_table().await.expect("a table as expected");
    let whole = Range::whole(&request.window);
    let name = "versus-drain".into();
    let mut cursor = server
        .rows(
            &request,
            fence,
            whole,
            Form::Packed(Parts::Unknown),
            2 << 20,
            name,
        )
        .expect("a cursor");
    while cursor.next().await.expect("a chunk").is_some() {}
}

/// Has ClickHouse write the same rows and columns in its own format.
async fn own_format(config: &Config, format: Format) {
    let client = config.clickhouse.client();
    let select = format!(
        "SELECT {} FROM events WHERE website_id = '{}' AND timestamp >= '{} 00:00:00' \
         AND timestamp < toDateTime64('{} 00:00:00', 3, 'UTC') + INTERVAL 1 DAY AND ingested_at <= now64(3) \
         ORDER BY timestamp, event_id",
        COLUMNS.join(", "),
        demo::SITE,
        demo::START,
        demo::END
    );
    let form = match format {
        Format::Csv => "CSVWithNames",
        Format::Json | Format::Ndjson => "JSONEachRow",
        Format::Parquet => {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("own.parquet");
            let sql = format!(
                "INSERT INTO FUNCTION file('{}', 'Parquet') {select} \
                 SETTINGS output_format_parquet_compression_method = 'zstd', engine_file_truncate_on_insert = 1",
                path.display()
            );
            client.query_raw(&sql).execute().await.expect("a file");
            return;
        }
    };
    let mut cursor = client
        .query_raw(&select)
        .fetch_bytes(form)
        .expect("a cursor");
    while cursor.next().await.expect("a chunk").is_some() {}
}
