//! `rowspout serve` as a process of its own, and a client of it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::header::AUTHORIZATION;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rowspout::catalog::Catalog;
use rowspout::config::ClickHouse;
use rowspout::demo;
use rowspout::request::Format;

use super::measure;
use super::tables::{Tables, environment, programs_executable};

/// A service over one database, which ends with this.
pub(crate) struct ServiceProcess {
    child: Child,
    client: Client<HttpConnector, Empty<Bytes>>,
    /// Host and port that it listens on.
    pub(crate) address: String,
    /// A key that opens all websites.
    pub(crate) key: String,
}

impl ServiceProcess {
    /// Starts a service that has room for so many exports at once.
    pub(crate) async fn start(
        clickhouse: &ClickHouse,
        tables: Tables,
        wire: &str,
        parallel: Option<usize>,
        exports: usize,
    ) -> Self {
        let mut settings = vec![
            ("ROWSPOUT_WIRE", wire.to_owned()),
            ("ROWSPOUT_MAX_EXPORTS", exports.to_string()),
            ("ROWSPOUT_MAX_EXPORTS_PER_KEY", exports.to_string()),
            ("ROWSPOUT_REQUESTS_PER_MINUTE", "1000000".to_owned()),
        ];
        settings.extend(parallel.map(|parallel| ("ROWSPOUT_PARALLEL", parallel.to_string())));
        Self::start_with(clickhouse, tables, settings).await
    }

    /// Starts a service with these settings in its environment.
    pub(crate) async fn start_with(
        clickhouse: &ClickHouse,
        tables: Tables,
        settings: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        let mut with_database = clickhouse.clone();
        with_database.database = tables.database();
        let key = Catalog::new(&with_database)
            .create_key(&[], "versus")
            .await
            .expect("a key");
        let mut command = Command::new(programs_executable());
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        environment(&mut command, clickhouse, tables);
        command
            .envs(settings)
            .env("RUST_LOG", "warn")
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the service starts");
        let mut log = BufReader::new(child.stderr.take().expect("its log"));
        let mut line = String::new();
        log.read_line(&mut line).expect("its log");
        let address = line
            .trim()
            .strip_prefix("rowspout listens on http://")
            .unwrap_or_else(|| panic!("the service said {line}"))
            .to_owned();
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                eprintln!("{line}");
            }
        });
        Self {
            child,
            client: Client::builder(TokioExecutor::new()).build_http(),
            address,
            key,
        }
    }

    /// Exports all days of a website, reads the file away and returns its size in bytes.
    pub(crate) async fn export(&self, site: &str, format: Format) -> u64 {
        let uri = format!(
            "http://{}/api/websites/{site}/export?start_date={}&end_date={}&format={format}&include_bots=true",
            self.address,
            demo::START,
            demo::END
        );
        let request = Request::get(uri)
            .header(AUTHORIZATION, format!("Bearer {}", self.key))
            .body(Empty::new())
            .expect("a request");
        let mut response = self.client.request(request).await.expect("an answer");
        assert!(response.status().is_success(), "{}", response.status());
        let mut bytes = 0;
        while let Some(frame) = response.frame().await {
            let frame = frame.expect("a whole file");
            bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
        }
        bytes
    }

    /// Highest resident memory so far, in bytes.
    pub(crate) fn peak(&self) -> u64 {
        measure::peak(self.child.id()).expect("a running service")
    }

    /// Seconds of CPU so far.
    pub(crate) fn cpu(&self) -> f64 {
        measure::cpu_seconds(self.child.id())
    }
}

impl Drop for ServiceProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
