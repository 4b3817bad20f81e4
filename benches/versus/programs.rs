//! The programs that are compared, each a process of its own.

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use rowspout::catalog::Catalog;
use rowspout::config::{Config, DEFAULT_SETTLE_SECONDS, Layer};
use rowspout::cursor::{ByteSource as _, How, Server, WireCompression};
use rowspout::decode::Wire;
use rowspout::demo;
use rowspout::pushdown::{Form, Parts, Range, columns::COLUMNS};
use rowspout::request::{ExportRequest, Format, WebsiteId};

use super::tables::{Tables, TestBed, environment, programs_executable};

/// Marks a start of the bench as one of its own programs.
pub(crate) const CHILD: &str = "--program";

/// Names the file that ClickHouse itself is to write its Parquet or Arrow into; without it the file comes as the response.
const OWN_FILE: &str = "ROWSPOUT_VERSUS_FILE";

/// Bytes that the drained cursor reads ahead, as an export's does.
const READ_AHEAD_BYTES: usize = 2 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// `rowspout export`, over a wire.
    Rowspout(&'static str),
    /// One cursor of that wire, read to nowhere in the form that suits the parts.
    Drain(&'static str),
    /// ClickHouse's own FORMAT, copied to standard output as a client would.
    Own,
}

impl Program {
    /// All that are compared over these wires.
    pub(crate) fn all(wires: &[&'static str]) -> Vec<Self> {
        let mut programs = vec![Self::Own];
        for &wire in wires {
            programs.extend([Self::Rowspout(wire), Self::Drain(wire)]);
        }
        programs
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rowspout(_) => "rowspout",
            Self::Drain(_) => "drain",
            Self::Own => "own FORMAT",
        }
    }

    pub(crate) fn wire(self) -> Option<&'static str> {
        match self {
            Self::Rowspout(wire) | Self::Drain(wire) => Some(wire),
            Self::Own => None,
        }
    }

    /// The process to measure, and the file that the engine writes instead of it, if any.
    pub(crate) fn command(
        self,
        bed: &TestBed,
        tables: Tables,
        format: Format,
        parallel: Option<usize>,
    ) -> (Command, Option<tempfile::TempPath>) {
        let mut file = None;
        let mut command = match self {
            Self::Rowspout(_) => {
                let mut command = Command::new(programs_executable());
                command.args(["export", "--site", demo::SITE]);
                command.args(["--start", demo::START, "--end", demo::END]);
                command.args(["--include-bots", "--format", format.as_str()]);
                command
            }
            Self::Drain(_) | Self::Own => {
                let mut command = Command::new(std::env::current_exe().expect("this program"));
                command.args([CHILD, self.as_str(), format.as_str(), tables.as_str()]);
                command
            }
        };
        environment(&mut command, &bed.clickhouse, tables);
        if let Some(wire) = self.wire() {
            command.env("ROWSPOUT_WIRE", wire);
        }
        if let (Self::Rowspout(_), Some(parallel)) = (self, parallel) {
            command.env("ROWSPOUT_PARALLEL", parallel.to_string());
        }
        // The embedded engine formats these whole, in memory; into a file it writes as a server does.
        let is_whole = matches!(format, Format::Parquet | Format::Arrow);
        if self == Self::Own && is_whole && bed.engine_pid().is_some() {
            let path = tempfile::NamedTempFile::new()
                .expect("a file")
                .into_temp_path();
            command.env(OWN_FILE, &path);
            file = Some(path);
        }
        (command, file)
    }
}

/// Runs one of the programs that are no command of Rowspout.
pub(crate) async fn child(arguments: &[String]) {
    let environment = Layer::from_environment().expect("settings");
    let config =
        Config::resolve(Layer::default(), environment, Layer::default()).expect("settings");
    let format = Format::from_name(&arguments[1]).expect("a format");
    match arguments[0].as_str() {
        "drain" => {
            let site = WebsiteId::parse(demo::SITE).expect("an id");
            let request = request(&site, demo::START, demo::END, format);
            let server = Server::new(&config);
            let tables = Tables::from_name(&arguments[2]).expect("tables");
            let form = best_form(&config, tables);
            drain(&Catalog::new(&config.clickhouse), &server, &request, form).await;
        }
        _ => own_format(&config, format).await,
    }
}

/// All events of a website in some days.
pub(crate) fn request(site: &WebsiteId, start: &str, end: &str, format: Format) -> ExportRequest {
    let pairs = [
        ("start_date", start),
        ("end_date", end),
        ("format", format.as_str()),
        ("include_bots", "true"),
    ];
    ExportRequest::from_pairs(
        site.clone(),
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())),
    )
    .expect("a request")
}

/// How an export reads most rows of the tables, once it knows how they lie in parts.
fn best_form(config: &Config, tables: Tables) -> Form {
    match (config.wire, tables) {
        (Wire::Native, Tables::Merged) => Form::Columns(Parts::Disjoint),
        (Wire::RowBinary, Tables::Merged) => Form::Packed(Parts::Disjoint),
        (_, Tables::Overlapping) => Form::Packed(Parts::Overlapping),
    }
}

/// The default.
const SETTLE: Duration = Duration::from_secs(DEFAULT_SETTLE_SECONDS);

/// Opens one cursor over all rows and reads them to nowhere.
async fn drain(catalog: &Catalog, server: &Server, request: &ExportRequest, form: Form) {
    let fence = catalog.fence(&request.website, WireCompression::None, SETTLE);
    let fence = fence.await.expect("a fence");
    let shared = std::sync::Arc::new(request.clone());
    let chosen = server.choose(&shared, fence, "versus-count").await;
    let replica = chosen.expect("a table as expected").replica;
    let whole = Range::whole(&request.window);
    let name = "versus-drain".into();
    let mut cursor = server
        .rows(
            &replica,
            request,
            fence,
            whole,
            How {
                form,
                room: READ_AHEAD_BYTES,
            },
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
    const ZSTD: &str = "output_format_parquet_compression_method = 'zstd'";
    let (form, settings) = match format {
        Format::Csv => ("CSVWithNames", String::new()),
        Format::Json | Format::Ndjson => ("JSONEachRow", String::new()),
        Format::Parquet => ("Parquet", format!(" SETTINGS {ZSTD}")),
        Format::Arrow => ("ArrowStream", String::new()),
    };
    if let Ok(path) = std::env::var(OWN_FILE) {
        let sql = format!(
            "INSERT INTO FUNCTION file('{path}', '{form}') {select} SETTINGS {ZSTD}, engine_file_truncate_on_insert = 1"
        );
        client.query_raw(&sql).execute().await.expect("a file");
        return;
    }
    let mut cursor = client
        .query_raw(&format!("{select}{settings}"))
        .fetch_bytes(form)
        .expect("a cursor");
    // Not the library's handle, which looks for lines.
    let mut out = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/stdout")
        .expect("standard output");
    while let Some(chunk) = cursor.next().await.expect("a chunk") {
        out.write_all(&chunk).expect("standard output");
    }
}
