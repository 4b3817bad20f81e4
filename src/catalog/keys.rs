//! Keys: made once, stored as hashes, compared in constant time.

use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Catalog, KeyLimits, check_name};
use crate::error::{Error, ErrorKind, Result};
use crate::random;
use crate::request::{Format, WebsiteId};

/// What every key begins with.
pub(crate) const KEY_PREFIX: &str = "spk_selfhosted_";

/// The SHA-256 of a key, as 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyHash(String);

impl KeyHash {
    /// The hash of a key, or of whatever was sent in its place.
    pub fn of(plain: &str) -> Self {
        Self(random::hex(&Sha256::digest(plain.as_bytes())))
    }
}

/// A key that opens something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Names the key in logs; no secret.
    pub id: String,
    /// The websites that it opens; none means all.
    pub sites: Vec<String>,
    /// The formats that it may export; none means all.
    pub formats: Vec<String>,
}

impl KeyRecord {
    /// Whether the key may export a format.
    pub fn may_write(&self, format: Format) -> bool {
        self.formats.is_empty() || self.formats.iter().any(|opened| opened == format.as_str())
    }

    /// Whether the key opens a website.
    pub fn opens(&self, site: &str) -> bool {
        self.sites.is_empty() || self.sites.iter().any(|opened| opened == site)
    }
}

/// A key as it is listed, without anything that could open a website.
#[derive(Clone, Debug, PartialEq, Eq, clickhouse::Row, Deserialize)]
pub struct KeyInfo {
    /// Names the key.
    pub id: String,
    /// For people.
    pub name: String,
    /// The websites that it opens; none means all.
    pub sites: Vec<String>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Whether it was revoked and opens nothing any more.
    pub revoked: bool,
    /// The formats that it may export; none means all.
    pub formats: Vec<String>,
    /// When it expires, RFC 3339; empty means never.
    pub expires: String,
    /// Whether that has passed.
    pub expired: bool,
}

#[derive(clickhouse::Row, Deserialize)]
struct FoundKey {
    id: String,
    hash: String,
    sites: Vec<String>,
    formats: Vec<String>,
}

impl From<FoundKey> for KeyRecord {
    fn from(found: FoundKey) -> Self {
        Self {
            id: found.id,
            sites: found.sites,
            formats: found.formats,
        }
    }
}

/// The newest state of keys,
const FIND_KEY: &str = "SELECT id, hash, argMax(api_keys.sites, version) AS sites, \
    argMax(api_keys.formats, version) AS formats FROM api_keys";

/// and of these the ones that open something.
const THAT_OPENS: &str = "GROUP BY id, hash HAVING NOT max(revoked) \
    AND (toUnixTimestamp64Milli(argMax(expires_at, version)) = 0 OR argMax(expires_at, version) > now64(3))";

impl Catalog {
    /// Makes a key for all formats that never expires, as [`Catalog::create_limited_key`] does.
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn create_key(&self, sites: &[String], name: &str) -> Result<String> {
        let limits = KeyLimits::default();
        self.create_limited_key(sites, name, &limits).await
    }

    /// Makes a key and returns it: the only time that it can be read.
    ///
    /// # Errors
    ///
    /// One of the websites does not exist, the name holds control characters, or ClickHouse cannot be reached.
    pub async fn create_limited_key(
        &self,
        sites: &[String],
        name: &str,
        limits: &KeyLimits,
    ) -> Result<String> {
        check_name(name)?;
        for site in sites {
            let id = WebsiteId::parse(site).ok_or_else(|| {
                Error::usage(format!(
                    "`{site}` is not a website: it is site_ and 1 to 64 of A-Za-z0-9_-"
                ))
            })?;
            if self.website(&id).await?.is_none() {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!(
                        "there is no website {site}: add it with `rowspout site add {site} --name NAME`"
                    ),
                ));
            }
        }
        let formats: Vec<_> = limits
            .formats
            .iter()
            .map(|format| format.as_str())
            .collect();
        let secret: [u8; 16] = random::bytes()?;
        let id: [u8; 4] = random::bytes()?;
        let plain = format!("{KEY_PREFIX}{}", random::hex(&secret));
        self.ask(|client| {
            client
                .query_raw(
                    "INSERT INTO api_keys (id, hash, name, sites, formats, expires_at) \
                     SELECT {id:String}, {hash:String}, {name:String}, {sites:Array(String)}, {formats:Array(String)}, \
                     fromUnixTimestamp64Milli({expires:Int64}, 'UTC')",
                )
                .param("id", format!("key_{}", random::hex(&id)))
                .param("hash", KeyHash::of(&plain).0)
                .param("name", name)
                .param("sites", sites)
                .param("formats", &formats)
                .param("expires", limits.expires.map_or(0, |moment| moment.0))
                .execute()
        })
        .await?;
        Ok(plain)
    }

    /// All keys, the oldest first.
    ///
    /// # Errors
    ///
    /// ClickHouse cannot be reached or has no tables.
    pub async fn list_keys(&self) -> Result<Vec<KeyInfo>> {
        self.ask(|client| async move {
            client.query_raw(
                "SELECT id, argMax(api_keys.name, version) AS name, argMax(api_keys.sites, version) AS sites, \
                 formatDateTime(min(created_at), '%Y-%m-%dT%H:%i:%SZ') AS created, max(api_keys.revoked) AS revoked, \
                 argMax(api_keys.formats, version) AS formats, \
                 if(toUnixTimestamp64Milli(argMax(expires_at, version)) = 0, '', \
                    formatDateTime(argMax(expires_at, version), '%Y-%m-%dT%H:%i:%SZ')) AS expires, \
                 toBool(expires != '' AND argMax(expires_at, version) <= now64(3)) AS expired \
                 FROM api_keys GROUP BY hash, id ORDER BY min(created_at), id",
            )
            .fetch_all::<KeyInfo>()
            .await
        })
        .await
    }

    /// Takes a key's power away.
    ///
    /// # Errors
    ///
    /// There is no such key, or it was revoked before.
    pub async fn revoke_key(&self, id: &str) -> Result<()> {
        // Both on one replica: another one may not know the key yet.
        let revoked = self.ask(|client| async move {
            let revoked = client
                .query_raw("SELECT max(revoked) FROM api_keys WHERE id = {id:String} GROUP BY id")
                .param("id", id)
                .fetch_optional::<bool>()
                .await?;
            if revoked == Some(false) {
                client
                    .query_raw(
                        "INSERT INTO api_keys (id, hash, name, sites, formats, expires_at, created_at, revoked, version) \
                         SELECT id, hash, name, sites, formats, expires_at, created_at, true, version + 1 \
                         FROM api_keys FINAL WHERE id = {id:String}",
                    )
                    .param("id", id)
                    .execute()
                    .await?;
            }
            Ok(revoked)
        });
        match revoked.await? {
            None => Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no key {id}: `rowspout key list` shows them all"),
            )),
            Some(true) => Err(Error::new(
                ErrorKind::Data,
                format!("{id} was revoked before"),
            )),
            Some(false) => Ok(()),
        }
    }

    /// The key of this id, if there is one that was not revoked and has not expired by ClickHouse's clock. It proves nothing of
    /// who asks: ids are no secrets.
    ///
    /// # Errors
    ///
    /// ClickHouse cannot be reached or has no tables.
    pub async fn find_key_by_id(&self, id: &str) -> Result<Option<KeyRecord>> {
        let answer = self.ask(|client| {
            let sql = format!("{FIND_KEY} WHERE id = {{id:String}} {THAT_OPENS} LIMIT 2");
            let query = client.query_raw(&sql).param("id", id);
            async move { query.fetch_all::<FoundKey>().await }
        });
        let mut found = answer.await?;
        // Of two keys with one id nobody knows which was meant.
        let only = if found.len() == 1 { found.pop() } else { None };
        Ok(only.map(KeyRecord::from))
    }

    /// The key of this hash, if there is one that was not revoked and has not expired by ClickHouse's clock.
    ///
    /// Any row that says revoked is enough, whatever the server's profile does to `FINAL` and to the order of filters.
    ///
    /// # Errors
    ///
    /// ClickHouse cannot be reached or has no tables.
    pub async fn find_key(&self, hash: &KeyHash) -> Result<Option<KeyRecord>> {
        let answer = self.ask(|client| {
            let sql = format!("{FIND_KEY} WHERE hash = {{hash:String}} {THAT_OPENS}");
            let query = client.query_raw(&sql).param("hash", hash.0.as_str());
            async move { query.fetch_optional::<FoundKey>().await }
        });
        let found = answer.await?;
        // ClickHouse compared the hashes already; this comparison tells nothing by the time it takes.
        Ok(found
            .filter(|found| found.hash.as_bytes().ct_eq(hash.0.as_bytes()).into())
            .map(KeyRecord::from))
    }
}
