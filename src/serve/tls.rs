//! TLS: the handshake in front of a connection, and which HTTP it agreed on.
//!
//! TLS 1.2 and 1.3. A connection that is aborted is closed without TLS's own end, `close_notify`, so that a client knows that
//! it was cut, whatever HTTP says. The files are read once, at the start: a renewed certificate takes a restart.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::config::TlsFiles;
use crate::error::{Error, Result};

/// The names of HTTP/2 and HTTP/1.1 in a handshake, the better one first.
const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// The first byte of every handshake.
const HANDSHAKE: u8 = 22;

/// What handshakes need.
pub(super) struct Tls(TlsAcceptor);

impl Tls {
    /// Reads the certificate and its key.
    ///
    /// # Errors
    ///
    /// A file cannot be read, does not hold what it should, or the two do not belong together.
    pub(super) fn load(files: &TlsFiles) -> Result<Self> {
        let chain = chain(&files.cert)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| {
            not_pem(
                "tls_key",
                &files.key,
                "the certificate's private key, without a passphrase",
                error,
            )
        })?;
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::internal("TLS cannot be set up").with_source(error))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| not_together(files, error))?;
        config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// The handshake. Not cancel-safe: a connection whose call was dropped is closed.
    ///
    /// # Errors
    ///
    /// The client left, or speaks no TLS that is spoken here.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.0.accept(stream).await
    }
}

/// Whether a client begins with a handshake. Reads nothing away.
pub(super) async fn begins(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    let len = stream.peek(&mut first).await?;
    Ok(len == 0 || first == [HANDSHAKE])
}

/// Whether client and service agreed on HTTP/2. Who agrees on nothing speaks HTTP/1.1.
pub(super) fn is_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let failed = |error| {
        let what = "the certificate, and behind it those that lead to one that clients trust";
        not_pem("tls_cert", path, what, error)
    };
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed)?;
    if chain.is_empty() {
        return Err(failed(pem::Error::NoItemsFound));
    }
    Ok(chain)
}

/// A file that is not there, or not what it should be. Its text is not repeated.
fn not_pem(setting: &str, path: &Path, what: &str, error: pem::Error) -> Error {
    let path = path.display();
    match error {
        pem::Error::Io(error) => Error::usage(format!(
            "{setting} {path} cannot be read: name a file that the service's user may read"
        ))
        .with_source(error),
        _ => Error::usage(format!(
            "{setting} {path} is not what it should be: give it {what}, as PEM"
        )),
    }
}

fn not_together(files: &TlsFiles, error: rustls::Error) -> Error {
    let (cert, key) = (files.cert.display(), files.key.display());
    let message = match &error {
        rustls::Error::InconsistentKeys(_) => {
            format!(
                "tls_key {key} is not the key of the certificate in tls_cert {cert}: give the two that were made together"
            )
        }
        _ => format!(
            "tls_cert {cert} and tls_key {key} cannot be used: give an X.509 certificate and its RSA, ECDSA or Ed25519 key"
        ),
    };
    Error::usage(message).with_source(error)
}
