//! The files that clients ask for, and what each must be.

use std::ops::RangeInclusive;

use rowspout::request::Format;
use sha2::{Digest as _, Sha256};

use super::client::{Client, Ending, Kind, Taking};

/// A file by its days and its format, and its SHA-256.
pub(crate) struct File {
    pub(crate) query: String,
    pub(crate) sha256: [u8; 32],
    /// How many days it has: 1, 7 or 90.
    pub(crate) days: u32,
}

/// All of them.
pub(crate) struct Files {
    all: Vec<File>,
    pub(crate) small: File,
}

/// First and last day of a window, and how many they are.
const WINDOWS: [(&str, &str, u32); 6] = [
    ("2026-01-05", "2026-01-05", 1),
    ("2026-02-11", "2026-02-11", 1),
    ("2026-03-29", "2026-03-29", 1),
    ("2026-01-12", "2026-01-18", 7),
    ("2026-03-02", "2026-03-08", 7),
    ("2026-01-01", "2026-03-31", 90),
];

/// The zone whose offset every row carries.
const ZONE: &str = "Europe/Berlin";

impl Files {
    /// Has each file made once, one after the other.
    pub(crate) async fn make(address: &str, key: &str) -> Self {
        let client = Client::new(address.into(), key.to_owned(), Kind::Fast, 0);
        let mut all = Vec::new();
        for (start, end, days) in WINDOWS {
            for format in Format::ALL {
                all.push(
                    client
                        .first(
                            format!("start_date={start}&end_date={end}&format={format}&timezone={ZONE}&include_bots=true"),
                            days,
                        )
                        .await,
                );
            }
        }
        let small = "start_date=2026-02-01&end_date=2026-02-01&format=csv".to_owned();
        let small = client.first(small, 1).await;
        Self { all, small }
    }

    /// One of so many days.
    pub(crate) fn one(&self, random: u64, days: RangeInclusive<u32>) -> &File {
        let files = self.all.iter().filter(|file| days.contains(&file.days));
        let count = files.clone().count() as u64;
        let mut files = files.skip((random % count) as usize);
        files.next().expect("a file")
    }
}

impl Client {
    /// The file as it is at rest.
    async fn first(&self, query: String, days: u32) -> File {
        let mut hash = Sha256::new();
        let taken = self.take(&query, Taking::ALL, |chunk| hash.update(chunk));
        match taken.await.ending {
            Ending::Whole => {}
            other => panic!("at rest {query} ended with {other:?}"),
        }
        File {
            query,
            sha256: hash.finalize().into(),
            days,
        }
    }
}
