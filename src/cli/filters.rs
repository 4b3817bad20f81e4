//! The flags that filter events, one of each column's name.

use clap::Args;

use crate::error::{Error, Result};
use crate::request::DATA_PREFIX;

/// Flags of filters. Each may be repeated.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters, each of which may be repeated")]
pub(super) struct FilterArgs {
    /// Only events of this name; any filter may be repeated, `!` in front excludes, `\` escapes, '' is an absent value
    #[arg(long, value_name = "VALUE")]
    event_name: Vec<String>,
    /// Only this URL, or with a trailing `*` those that begin so
    #[arg(long, value_name = "VALUE")]
    url: Vec<String>,
    /// Only from this referrer
    #[arg(long, value_name = "VALUE")]
    referrer: Vec<String>,
    /// Only from this country, as in DE
    #[arg(long, value_name = "VALUE")]
    country: Vec<String>,
    /// Only from this region
    #[arg(long, value_name = "VALUE")]
    region: Vec<String>,
    /// Only from this city
    #[arg(long, value_name = "VALUE")]
    city: Vec<String>,
    /// Only with this browser
    #[arg(long, value_name = "VALUE")]
    browser: Vec<String>,
    /// Only with this operating system
    #[arg(long, value_name = "VALUE")]
    os: Vec<String>,
    /// Only with this device: desktop, mobile or tablet
    #[arg(long, value_name = "VALUE")]
    device: Vec<String>,
    /// Only of this utm_source
    #[arg(long, value_name = "VALUE")]
    utm_source: Vec<String>,
    /// Only of this utm_medium
    #[arg(long, value_name = "VALUE")]
    utm_medium: Vec<String>,
    /// Only of this utm_campaign
    #[arg(long, value_name = "VALUE")]
    utm_campaign: Vec<String>,
    /// Only of this session
    #[arg(long, value_name = "VALUE")]
    session_id: Vec<String>,
    /// Only of this visitor
    #[arg(long, value_name = "VALUE")]
    visitor_id: Vec<String>,
    /// Only events whose event_data has this value for this key, as in plan=pro
    #[arg(long, value_name = "KEY=VALUE")]
    data: Vec<String>,
}

impl FilterArgs {
    /// The filters as parameters of a request.
    ///
    /// # Errors
    ///
    /// `--data` without an equals sign.
    pub(super) fn pairs(self) -> Result<Vec<(String, String)>> {
        let columns = [
            ("event_name", self.event_name),
            ("url", self.url),
            ("referrer", self.referrer),
            ("country", self.country),
            ("region", self.region),
            ("city", self.city),
            ("browser", self.browser),
            ("os", self.os),
            ("device", self.device),
            ("utm_source", self.utm_source),
            ("utm_medium", self.utm_medium),
            ("utm_campaign", self.utm_campaign),
            ("session_id", self.session_id),
            ("visitor_id", self.visitor_id),
        ];
        let mut pairs = Vec::new();
        for (name, values) in columns {
            pairs.extend(values.into_iter().map(|value| (name.to_owned(), value)));
        }
        for text in self.data {
            let Some((key, value)) = text.split_once('=') else {
                return Err(Error::usage(
                    "--data is written KEY=VALUE, as in --data plan=pro",
                ));
            };
            pairs.push((format!("{DATA_PREFIX}{key}"), value.to_owned()));
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use clap::Args as _;

    use super::FilterArgs;
    use crate::request::FILTERS;

    #[test]
    fn every_filter_has_its_flag() {
        let command = FilterArgs::augment_args(clap::Command::new("x"));
        let flags = command.get_arguments().map(|flag| flag.get_id().as_str());
        let flags: Vec<_> = flags.filter(|flag| *flag != "data").collect();
        assert_eq!(flags, FILTERS);
    }
}
