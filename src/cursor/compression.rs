//! How answers are compressed between ClickHouse and here.

use clickhouse::{Client, Compression};

/// A compression of ClickHouse's HTTP interface, for servers on other machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WireCompression {
    /// Bytes as they are: the fastest where the network is.
    #[default]
    None,
    /// LZ4 frames. ClickHouse writes them without checksums.
    Lz4,
    /// A Zstandard frame a query, with a checksum of all its content at the end.
    Zstd,
}

impl WireCompression {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::None, Self::Lz4, Self::Zstd];

    /// Its name in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The one of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == name)
    }

    /// The client, asking for this compression.
    pub(crate) fn asked_by(self, client: Client) -> Client {
        let compression = match self {
            Self::None => return client,
            Self::Lz4 => Compression::Lz4,
            Self::Zstd => Compression::zstd(),
        };
        // The header alone does nothing: a server compresses where this is set too.
        client
            .with_compression(compression)
            .with_setting("enable_http_compression", "1")
    }
}
