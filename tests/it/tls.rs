//! The service over TLS: both versions of HTTP, what is refused, and that a cut is seen.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rowspout::config::TlsFiles;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, crypto::ring};

use crate::support::TestDatabase;
use crate::support::command::rowspout;
use crate::support::insert::{database, traffic};
use crate::support::service::{TestService, config};

const PATH: &str = "/api/websites/site_demo/export?start_date=2026-01-01&end_date=2026-03-31";
const BOTH: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];

/// A certificate of `localhost` that nobody signed, and its key.
struct Certificate {
    folder: tempfile::TempDir,
}

impl Certificate {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).expect("written");
        let key = made.signing_key.serialize_pem();
        std::fs::write(folder.path().join("key.pem"), key).expect("written");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn files(&self) -> TlsFiles {
        TlsFiles {
            cert: self.path("cert.pem"),
            key: self.path("key.pem"),
        }
    }

    /// A connection of a client that trusts this certificate alone.
    async fn connect(
        &self,
        service: &TestService,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(service.address).await.expect("one");
        self.shake_hands(stream, versions, protocols).await
    }

    /// The same, on a socket.
    async fn shake_hands(
        &self,
        stream: TcpStream,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&str],
    ) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        let cert = CertificateDer::from_pem_file(self.path("cert.pem")).expect("a certificate");
        roots.add(cert).expect("trusted");
        let provider = Arc::new(ring::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let protocols = protocols.iter().map(|protocol| protocol.as_bytes());
        client.alpn_protocols = protocols.map(<[u8]>::to_vec).collect();
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(Arc::new(client));
        connector.connect(name, stream).await.expect("a handshake")
    }
}

async fn service(database: &TestDatabase, certificate: &Certificate) -> TestService {
    let mut settings = config(&database.config);
    settings.tls = Some(certificate.files());
    TestService::start_with(settings).await
}

fn request(service: &TestService, version: Version, path: &str) -> Request<Empty<Bytes>> {
    let authority = format!("https://localhost{path}");
    let target = if version == Version::HTTP_2 {
        &authority
    } else {
        path
    };
    Request::get(target)
        .version(version)
        .header("host", "localhost")
        .header("authorization", format!("Bearer {}", service.key))
        .body(Empty::new())
        .expect("a request")
}

/// An answer, and what reads its connection: as long as it is not waited for, nothing more is taken from there.
type Unread = (Response<Incoming>, Boxed<()>);
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Sends a request in the version of HTTP that the handshake agreed on, and reads until the head of its answer.
async fn send_unread(stream: TlsStream<TcpStream>, service: &TestService, path: &str) -> Unread {
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(stream);
    let (answer, mut reading): (Boxed<_>, Boxed<()>) = if is_http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                .await
                .expect("HTTP/2");
        let request = request(service, Version::HTTP_2, path);
        let answer = async move { sender.send_request(request).await };
        (Box::pin(answer), Box::pin(async { drop(connection.await) }))
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
            .await
            .expect("HTTP/1.1");
        let request = request(service, Version::HTTP_11, path);
        let answer = async move { sender.send_request(request).await };
        (Box::pin(answer), Box::pin(async { drop(connection.await) }))
    };
    let answer = tokio::select! {
        answer = answer => answer.expect("an answer"),
        () = &mut reading => panic!("the connection ended before its answer"),
    };
    (answer, reading)
}

/// The same, and reads on.
async fn send(stream: TlsStream<TcpStream>, service: &TestService) -> Response<Incoming> {
    let (answer, reading) = send_unread(stream, service, PATH).await;
    tokio::spawn(reading);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_the_same_over_every_version_of_tls_and_http() {
    let database = traffic(20_000).await;
    let certificate = Certificate::new();
    let plain = TestService::start(&database.config).await;
    let expected = plain.get(PATH).await.body.expect("a file");
    let service = service(&database, &certificate).await;
    for (versions, protocols, http) in [
        (BOTH, &["h2", "http/1.1"][..], Version::HTTP_2),
        (&[&TLS12], &["h2"], Version::HTTP_2),
        (&[&TLS13], &["http/1.1"], Version::HTTP_11),
        (&[&TLS12], &["http/1.1"], Version::HTTP_11),
        (BOTH, &[], Version::HTTP_11),
    ] {
        let stream = certificate.connect(&service, versions, protocols).await;
        let answer = send(stream, &service).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.version(), http);
        let body = answer.into_body().collect().await.expect("complete");
        assert_eq!(body.to_bytes(), expected, "{protocols:?}");
    }
}

/// The bytes of a connection over HTTP/1.1 until it ends, and whether TLS ended with it.
async fn read(certificate: &Certificate, service: &TestService) -> (Vec<u8>, std::io::Result<()>) {
    let mut stream = certificate.connect(service, BOTH, &["http/1.1"]).await;
    let head = format!(
        "GET {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\r\n",
        service.key
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).await;
    (bytes, end.map(drop))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_export_ends_without_the_end_of_tls() {
    let database = traffic(1_200_000).await;
    let certificate = Certificate::new();
    let whole = service(&database, &certificate).await;
    let (bytes, end) = read(&certificate, &whole).await;
    end.expect("TLS ends in order behind a whole export");
    assert!(bytes.ends_with(b"\r\n0\r\n\r\n"), "the export was cut");

    // A view that throws behind more than a million rows.
    let sql = "CREATE VIEW failing AS SELECT * REPLACE (if(throwIf(timestamp = (SELECT timestamp FROM events \
               WHERE website_id = 'site_demo' ORDER BY timestamp, event_id LIMIT 1 OFFSET 1100000), \
               'broken on purpose') = 0, url, '') AS url) FROM events";
    let view = database.client.query_raw(sql).execute();
    view.await.expect("a view");
    let mut settings = config(&database.config);
    settings.events_table = "failing".into();
    settings.tls = Some(certificate.files());
    let failing = TestService::start_with(settings).await;
    let (bytes, end) = read(&certificate, &failing).await;
    assert!(bytes.starts_with(b"HTTP/1.1 200") && bytes.len() > 1_000_000);
    let error = end.expect_err("TLS must not end as if all were well");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
    assert!(!bytes.ends_with(b"\r\n0\r\n\r\n"));

    let stream = certificate.connect(&failing, BOTH, &["h2"]).await;
    let answer = send(stream, &failing).await;
    assert_eq!(answer.status(), 200);
    let body = answer.into_body().collect().await;
    assert!(body.is_err(), "it ended as if it were complete");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_tls_that_takes_nothing_loses_its_export() {
    let database = traffic(2_000_000).await;
    let certificate = Certificate::new();
    let mut settings = config(&database.config);
    settings.max_exports = 1;
    settings.max_open_exports = 1;
    settings.stall = Duration::from_secs(1);
    settings.tls = Some(certificate.files());
    let service = TestService::start_with(settings).await;
    for protocol in ["http/1.1", "h2"] {
        let stream = certificate.connect(&service, BOTH, &[protocol]).await;
        let stalled = send(stream, &service).await;
        assert_eq!(stalled.status(), 200);
        // It waits in the queue until the place is free.
        let stream = certificate.connect(&service, BOTH, &["http/1.1"]).await;
        let next = send(stream, &service).await;
        assert_eq!(next.status(), 200);
        drop(next);
        let body = stalled.into_body().collect().await;
        assert!(body.is_err(), "it ended as if it were complete");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stops_stays_for_its_clients_over_tls_too() {
    let database = traffic(3_000).await;
    let certificate = Certificate::new();
    let mut service = service(&database, &certificate).await;
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4_096).expect("a small one");
    let stream = socket.connect(service.address).await.expect("connected");
    let stream = certificate.shake_hands(stream, BOTH, &["http/1.1"]).await;
    let (answer, reading) = send_unread(stream, &service, PATH).await;
    let id = answer.headers()["x-export-id"].to_str().expect("text");
    let receipt = format!("/api/exports/{id}");
    loop {
        let stream = certificate.connect(&service, BOTH, &[]).await;
        let (answer, reading) = send_unread(stream, &service, &receipt).await;
        let reading = tokio::spawn(reading);
        let receipt = answer.into_body().collect().await.expect("whole");
        reading.abort();
        let receipt = String::from_utf8(receipt.to_bytes().to_vec()).expect("text");
        if receipt.contains("\"complete\"") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    service.begin_stop();
    let mut stopped = Box::pin(service.stopped());
    let early = tokio::time::timeout(Duration::from_secs(1), &mut stopped).await;
    assert!(early.is_err(), "the client has not yet all of it");
    tokio::spawn(reading);
    let body = answer.into_body().collect().await.expect("whole");
    assert!(body.to_bytes().ends_with(b"\n"));
    stopped.await.expect("in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_come_gives_its_place_back() {
    let database = traffic(10).await;
    let certificate = Certificate::new();
    let mut settings = config(&database.config);
    settings.head = Duration::from_secs(1);
    settings.max_connections = 1;
    settings.tls = Some(certificate.files());
    let service = TestService::start_with(settings).await;
    // Nothing at all, the first byte, and a record that never ends.
    for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut silent = TcpStream::connect(service.address).await.expect("one");
        silent.write_all(begun).await.expect("sent");
        tokio::time::sleep(Duration::from_millis(100)).await;
        // One more is closed without a word.
        let answer = service.raw(b"").await;
        assert!(answer.is_empty(), "{answer:?}");
        let mut rest = Vec::new();
        let end = silent.read_to_end(&mut rest);
        let end = tokio::time::timeout(Duration::from_secs(30), end).await;
        let _ = end.expect("the connection is closed");
        // The place is free once the connection's task has ended.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (bytes, end) = read(&certificate, &service).await;
    end.expect("in order");
    assert!(bytes.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_told_to_use_https() {
    let database = traffic(10).await;
    let certificate = Certificate::new();
    let service = service(&database, &certificate).await;
    let answer = service.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = String::from_utf8(answer).expect("text");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("https"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_no_certificate_or_key_are_named_with_the_remedy() {
    let database = database().await;
    let (certificate, other) = (Certificate::new(), Certificate::new());
    let (cert, key) = (certificate.path("cert.pem"), certificate.path("key.pem"));
    let missing = certificate.path("nothing.pem");
    let empty = certificate.path("empty.pem");
    std::fs::write(&empty, "").expect("written");
    for (cert, key, named, remedy) in [
        (Some(&cert), None, "tls_key", "private key"),
        (None, Some(&key), "tls_cert", "certificate"),
        (Some(&missing), Some(&key), "nothing.pem", "may read"),
        (Some(&cert), Some(&missing), "nothing.pem", "may read"),
        (Some(&empty), Some(&key), "empty.pem", "as PEM"),
        (Some(&cert), Some(&cert), "cert.pem", "private key"),
        (Some(&key), Some(&key), "key.pem", "certificate"),
        (
            Some(&cert),
            Some(&other.path("key.pem")),
            "key.pem",
            "together",
        ),
    ] {
        let mut command = rowspout(&database.config);
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        if let Some(cert) = cert {
            command.arg("--tls-cert").arg(cert);
        }
        if let Some(key) = key {
            command.env("ROWSPOUT_TLS_KEY", key);
        }
        let output = command.output().expect("rowspout runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(named) && said.contains(remedy), "{said}");
        assert!(!said.contains("PRIVATE KEY"), "{said}");
    }
}
