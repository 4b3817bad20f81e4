//! The service in this process, over a test's own database, and a client for it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rowspout::catalog::Catalog;
use rowspout::config::{ClickHouse, Config, Layer};
use rowspout::serve::{self, Service};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// A running service and a key that opens every website.
pub(crate) struct TestService {
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    stop: Option<oneshot::Sender<()>>,
    running: tokio::task::JoinHandle<rowspout::error::Result<()>>,
}

/// A whole response, or what came of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The body, if it ended as HTTP says that it must.
    pub(crate) body: Result<Bytes, String>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone().expect("a complete body").to_vec()).expect("UTF-8")
    }

    pub(crate) fn error(&self) -> Value {
        let json: Value = serde_json::from_str(&self.text()).expect("an error is JSON");
        json["error"].clone()
    }
}

/// Settings over a test's database.
pub(crate) fn config(clickhouse: &ClickHouse) -> Config {
    let flags = Layer {
        listen: Some("127.0.0.1:0".into()),
        clickhouse_url: Some(clickhouse.url.clone()),
        clickhouse_user: clickhouse.user.clone(),
        clickhouse_password: clickhouse.password.clone(),
        clickhouse_database: Some(clickhouse.database.clone()),
        // Every test runs over every wire: the environment chooses.
        wire: std::env::var("ROWSPOUT_WIRE").ok(),
        parallel: std::env::var("ROWSPOUT_PARALLEL")
            .ok()
            .map(|number| number.parse().expect("a number")),
        ..Layer::default()
    };
    Config::resolve(flags, Layer::default(), Layer::default()).expect("settings")
}

/// An address that nobody listens on.
pub(crate) fn free_address() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

/// Waits until somebody listens there.
pub(crate) async fn listens(address: SocketAddr) {
    let begun = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        assert!(begun.elapsed().as_secs() < 10, "nobody listens");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl TestService {
    /// A service over the database with default settings.
    pub(crate) async fn start(clickhouse: &ClickHouse) -> Self {
        Self::start_with(config(clickhouse)).await
    }

    /// A service with these settings.
    pub(crate) async fn start_with(config: Config) -> Self {
        let key = Catalog::new(&config.clickhouse)
            .create_key(&[], "test")
            .await
            .expect("a key");
        Self::start_without_key(config, key).await
    }

    /// A service with these settings, whose ClickHouse may not even be there.
    pub(crate) async fn start_without_key(config: Config, key: String) -> Self {
        let listener = TcpListener::bind(config.listen).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel::<()>();
        let service = Service::new(config).expect("a service");
        let shutdown = async {
            let _ = stopped.await;
        };
        let running = serve::run(service, listener, shutdown, std::future::pending());
        let running = tokio::spawn(running);
        Self {
            address,
            key,
            stop: Some(stop),
            running,
        }
    }

    /// Tells the service to stop, without waiting for it.
    pub(crate) fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits for the service to have stopped.
    pub(crate) async fn stopped(self) -> rowspout::error::Result<()> {
        self.running.await.expect("the service did not panic")
    }

    /// GET with the service's own key.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, Some(&self.key.clone())).await
    }

    /// The receipt of an export, once it has such a status.
    pub(crate) async fn receipt_when(&self, id: &str, wanted: impl Fn(&str) -> bool) -> Value {
        let asked = Instant::now();
        loop {
            let answer = self.get(&format!("/api/exports/{id}")).await;
            if answer.status == StatusCode::OK {
                let receipt: Value = serde_json::from_str(&answer.text()).expect("JSON");
                if receipt["status"].as_str().is_some_and(&wanted) {
                    return receipt;
                }
            }
            assert!(asked.elapsed() < Duration::from_secs(20), "{answer:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// An export of a website.
    pub(crate) async fn export(&self, site: &str, query: &str) -> Answer {
        self.get(&format!("/api/websites/{site}/export?{query}"))
            .await
    }

    /// Begins an export of `site_demo` and reads a little of it, so that it keeps running; its connection and id.
    pub(crate) async fn begin_export(&self, key: &str, query: &str) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(self.address)
            .await
            .expect("a connection");
        let id = self
            .begin_export_on(&mut stream, key, query, "Connection: close\r\n")
            .await;
        (stream, id)
    }

    /// The same on a connection, with lines of the request's head; its id.
    pub(crate) async fn begin_export_on(
        &self,
        stream: &mut TcpStream,
        key: &str,
        query: &str,
        lines: &str,
    ) -> String {
        let request = format!(
            "GET /api/websites/site_demo/export?{query} HTTP/1.1\r\nHost: x\r\n{lines}Authorization: Bearer {key}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut head = vec![0; 1_024];
        stream.read_exact(&mut head).await.expect("the head");
        let head = String::from_utf8_lossy(&head).to_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let (_, rest) = head.split_once("x-export-id: ").expect("an id");
        rest[..36].to_owned()
    }

    /// Any request, with any key or none.
    pub(crate) async fn send(&self, method: Method, path: &str, key: Option<&str>) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.request(request.body(Empty::<Bytes>::new()).expect("a request"))
            .await
    }

    /// Any request at all.
    pub(crate) async fn request(&self, request: Request<Empty<Bytes>>) -> Answer {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let response = client.request(request).await.expect("a response");
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body
                .collect()
                .await
                .map(|body| body.to_bytes())
                .map_err(|error| error.to_string()),
        }
    }

    /// Writes raw bytes and reads until the service closes the connection.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address)
            .await
            .expect("a connection");
        // The service may answer and close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        answer
    }
}
