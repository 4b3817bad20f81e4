//! `rowspout serve`: the service.

use clap::Args;
use tokio::net::TcpListener;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::serve::{self, Service};
use crate::shutdown::shutdown_signal;

/// Flags of `serve`.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Address and port [env: ROWSPOUT_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Option<String>,
}

pub(super) async fn run(_args: ServeArgs, config: Config) -> Result<()> {
    let listener = listen(&config).await?;
    let address = listener.local_addr().unwrap_or(config.listen);
    eprintln!("rowspout listens on http://{address}");
    serve::run(Service::new(config)?, listener, shutdown_signal()).await
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
