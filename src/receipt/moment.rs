//! Instants of receipts: milliseconds inside, RFC 3339 outside.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// An instant in milliseconds since 1970-01-01T00:00:00Z. In JSON `2026-03-03T10:15:00.250Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// This machine's clock.
    pub fn now() -> Self {
        Self(Utc::now().timestamp_millis())
    }

    fn utc(self) -> DateTime<Utc> {
        // Milliseconds beyond chrono's 262,000 years come from no clock.
        DateTime::from_timestamp_millis(self.0).unwrap_or_default()
    }

    /// The millisecond before it.
    pub(crate) fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// Its date in UTC, as `YYYY-MM-DD`.
    pub(crate) fn date(self) -> String {
        self.utc().format("%Y-%m-%d").to_string()
    }

    /// As ClickHouse reads a `DateTime64(3, 'UTC')`.
    pub(crate) fn to_sql(self) -> String {
        self.utc().format("%Y-%m-%d %H:%M:%S%.3f").to_string()
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.utc().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        DateTime::parse_from_rfc3339(&text)
            .map(|instant| Self(instant.timestamp_millis()))
            .map_err(|_| D::Error::custom(format!("`{text}` is not an RFC 3339 instant")))
    }
}
