//! `rowspout serve`: the service.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tokio::net::TcpListener;

use crate::config::{Config, Layer};
use crate::error::{Error, Result};
use crate::serve::{self, Service};
use crate::shutdown::{second_signal, shutdown_signal};

/// Flags of `serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Address and port [env: ROWSPOUT_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// PEM file of the certificate and its chain: TLS instead of plain HTTP [env: ROWSPOUT_TLS_CERT]
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key [env: ROWSPOUT_TLS_KEY]
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
}

impl ServeArgs {
    /// The flags as settings.
    pub(super) fn settings(&self) -> Layer {
        Layer {
            listen: self.listen.clone(),
            tls_cert: self.tls_cert.clone(),
            tls_key: self.tls_key.clone(),
            ..Layer::default()
        }
    }
}

pub(super) async fn run(_args: ServeArgs, config: Config) -> Result<()> {
    let service = Service::new(config.clone())?;
    let listener = listen(&config).await?;
    let address = listener.local_addr().unwrap_or(config.listen);
    let url = url(&config, address);
    eprintln!("rowspout listens on {url}");
    if config.page {
        eprintln!("rowspout shows its page at {url}/");
    }
    // A second signal ends what the first one lets finish.
    serve::run(service, listener, shutdown_signal(), second_signal()).await
}

/// Where the service is.
pub(super) fn url(config: &Config, address: SocketAddr) -> String {
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    format!("{scheme}://{address}")
}

/// Opens the service's socket.
pub(super) async fn listen(config: &Config) -> Result<TcpListener> {
    TcpListener::bind(config.listen).await.map_err(|error| {
        Error::usage(format!(
            "{} cannot be listened on: give another address with --listen",
            config.listen
        ))
        .with_source(error)
    })
}
