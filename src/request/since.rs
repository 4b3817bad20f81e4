//! What arrived since an earlier export, whenever it happened: `since`, and the watermark that such exports are chained by.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::parameters::quoted;
use super::{ExportRequest, Interval, Wanted, WebsiteId, Window, instant_text};
use crate::error::{Error, Result};
use crate::pushdown::Fence;

/// The parameter's name.
pub(super) const SINCE: &str = "since";

/// The value that begins a chain: everything that has arrived so far.
const BEGINNING: &str = "beginning";

/// What every watermark begins with, and which form it has.
const FORM: &str = "wm1";

/// How long before a watermark rows are counted by whoever goes on from it, in milliseconds: those that became visible later
/// than they should are noticed if they arrived no longer ago than that.
const RECOUNTED_MS: i64 = 2 * 24 * 3_600_000;

/// Hexadecimal digits by which what is selected is known again.
const SELECTION_DIGITS: usize = 16;

/// Hexadecimal digits that a typing error does not get past.
const CHECK_DIGITS: usize = 8;

/// Up to where a chain of exports has come. Opaque to its users; it goes into a URL as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    website: WebsiteId,
    /// Of the filters, the type and the bot flag: another selection is another chain.
    selection: String,
    /// Everything that arrived up to this moment was exported, by ClickHouse's clock, in milliseconds since
    /// 1970-01-01T00:00:00Z.
    up_to: i64,
    /// Of what arrived behind this moment and up to the other one, as many rows were visible.
    counted_from: i64,
    counted: u64,
}

/// Where an export of arrivals begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// At the first row.
    Beginning,
    /// Behind an earlier export.
    After(Watermark),
}

/// Rows by when they arrived, instead of by when they happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Where they begin.
    pub since: Since,
    /// Where the next export begins; known when they were counted.
    pub next: Option<Watermark>,
    /// Rows that should have been in earlier exports and were not: they became visible later than the settings allow for.
    pub late_rows: u64,
}

/// What is counted of arrivals before they are exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrivals {
    /// From the first to the last of them, by when they happened; `None` where there are none.
    pub happened: Option<Interval>,
    /// How many there are.
    pub rows: u64,
    /// How many are visible now of those that the watermark has counted.
    pub recounted: u64,
    /// How many the next watermark has to have counted.
    pub counted: u64,
}

/// The moments between which rows are counted, in milliseconds since 1970-01-01T00:00:00Z. The first of each two is outside;
/// where it is absent, nothing is before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrivalBounds {
    /// The rows to export arrived behind this one.
    pub after: Option<i64>,
    /// And up to this one.
    pub up_to: i64,
    /// Those that were counted before arrived behind this one and up to `after`.
    pub recounted_from: Option<i64>,
    /// Those that the next watermark counts arrived behind this one and up to `up_to`.
    pub counted_from: i64,
}

/// A request for arrivals, whose window is not known before they are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinceRequest {
    /// The same over all time, by which they are counted.
    whole: ExportRequest,
    since: Since,
    zone: chrono_tz::Tz,
}

impl Watermark {
    /// Reads what [`fmt::Display`] writes. `None` where it is none, or damaged.
    fn parse(text: &str) -> Option<Self> {
        let (signed, check) = text.rsplit_once('.')?;
        let fields: Vec<_> = signed.split('.').collect();
        let [form, website, selection, up_to, counted_from, counted] = fields[..] else {
            return None;
        };
        let watermark = Self {
            website: WebsiteId::parse(website)?,
            selection: selection.to_owned(),
            up_to: up_to.parse().ok()?,
            counted_from: counted_from.parse().ok()?,
            counted: counted.parse().ok()?,
        };
        let is_whole = form == FORM
            && selection.len() == SELECTION_DIGITS
            && watermark.counted_from <= watermark.up_to
            && check == self::check(signed)
            // There is one way to write each.
            && watermark.to_string() == text;
        is_whole.then_some(watermark)
    }

    /// The moment up to which everything that arrived was exported, in milliseconds since 1970-01-01T00:00:00Z.
    pub fn up_to(&self) -> i64 {
        self.up_to
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            website,
            selection,
            up_to,
            counted_from,
            counted,
        } = self;
        let signed = format!("{FORM}.{website}.{selection}.{up_to}.{counted_from}.{counted}");
        write!(f, "{signed}.{}", check(&signed))
    }
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beginning => f.write_str(BEGINNING),
            Self::After(watermark) => watermark.fmt(f),
        }
    }
}

impl Since {
    /// The parameter's value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`](crate::error::ErrorKind::Validation): it is no watermark, or that of another website or
    /// selection.
    fn parse(text: &str, request: &ExportRequest) -> Result<Self> {
        if text == BEGINNING {
            return Ok(Self::Beginning);
        }
        let refused = |why: String| Err(Error::validation(SINCE, why));
        let Some(watermark) = Watermark::parse(text) else {
            return refused(format!(
                "{SINCE} `{}` is no watermark, or not a whole one: give the X-Export-Next-Since of the export before as it is, \
                 or {BEGINNING}",
                quoted(text)
            ));
        };
        if watermark.website != request.website {
            return refused(format!(
                "{SINCE} is a watermark of {}, and not of {}: each website has its own",
                watermark.website, request.website
            ));
        }
        if watermark.selection != selection(request) {
            return refused(format!(
                "{SINCE} is a watermark of an export with other filters, event_type or include_bots: use those again, or begin \
                 anew with {SINCE}={BEGINNING}"
            ));
        }
        Ok(Self::After(watermark))
    }

    /// The moment behind which rows arrived, in milliseconds since 1970-01-01T00:00:00Z; `None` means all.
    pub fn after(&self) -> Option<i64> {
        match self {
            Self::Beginning => None,
            Self::After(watermark) => Some(watermark.up_to),
        }
    }
}

impl Arrived {
    /// Where they begin and end, for a file's name: the arrival of the first that could be in it and of the last.
    pub(super) fn ends_in_name(&self) -> (String, String) {
        let moment = |ms: i64| instant_text(ms).replace(['-', ':'], "");
        let from = self.since.after().map_or(BEGINNING.to_owned(), moment);
        let until = self.next.as_ref().map(|next| moment(next.up_to));
        (from, until.unwrap_or_default())
    }
}

impl SinceRequest {
    /// A request whose window is all of time, and the value of `since`.
    pub(super) fn new(mut whole: ExportRequest, since: &str, zone: chrono_tz::Tz) -> Result<Self> {
        if whole.limit.is_some() {
            return Err(Error::validation(
                "limit",
                "limit does not go together with since: the next export would go on behind rows that this one left out",
            ));
        }
        let since = Since::parse(since, &whole)?;
        whole.arrived = Some(Arrived {
            since: since.clone(),
            next: None,
            late_rows: 0,
        });
        Ok(Self { whole, since, zone })
    }

    /// What arrivals are counted by: over all time, in UTC, and nothing that could be exported.
    pub fn whole(&self) -> &ExportRequest {
        &self.whole
    }

    /// What has to be counted under a fence.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`](crate::error::ErrorKind::Validation): the watermark lies ahead of ClickHouse's clock.
    pub fn bounds(&self, fence: Fence) -> Result<ArrivalBounds> {
        let settled = fence.settled();
        let (after, recounted_from) = match &self.since {
            Since::Beginning => (None, None),
            Since::After(watermark) if watermark.up_to > fence.now() => {
                return Err(Error::validation(
                    SINCE,
                    format!(
                        "{SINCE} ends at {}, which lies ahead of ClickHouse's clock ({}): it is of another installation, or a \
                         clock was put back",
                        instant_text(watermark.up_to),
                        instant_text(fence.now())
                    ),
                ));
            }
            Since::After(watermark) => (Some(watermark.up_to), Some(watermark.counted_from)),
        };
        // Never back: with more patience than before, what was exported once is not exported again.
        let up_to = after.map_or(settled, |after| after.max(settled));
        let lately = up_to.saturating_sub(RECOUNTED_MS);
        Ok(ArrivalBounds {
            after,
            up_to,
            recounted_from,
            counted_from: recounted_from.map_or(lately, |from| from.max(lately)),
        })
    }

    /// The export of what was counted.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Validation`](crate::error::ErrorKind::Validation) naming `timezone`: a row happened at a time at which the
    /// zone's offset cannot be written.
    pub fn resolve(&self, bounds: ArrivalBounds, arrivals: Arrivals) -> Result<ExportRequest> {
        let before = match &self.since {
            Since::Beginning => 0,
            Since::After(watermark) => watermark.counted,
        };
        let window = match arrivals.happened {
            Some(happened) => Window::around(happened, self.zone).map_err(of_zone)?,
            None => Window::empty(self.zone),
        };
        let next = Watermark {
            website: self.whole.website.clone(),
            selection: selection(&self.whole),
            up_to: bounds.up_to,
            counted_from: bounds.counted_from,
            counted: arrivals.counted,
        };
        Ok(ExportRequest {
            window,
            arrived: Some(Arrived {
                since: self.since.clone(),
                next: Some(next),
                late_rows: arrivals.recounted.saturating_sub(before),
            }),
            ..self.whole.clone()
        })
    }
}

/// Whatever is wrong with the window, the request said nothing of it but the zone.
fn of_zone(error: Error) -> Error {
    let message = format!("of the rows that arrived: {}", error.message());
    Error::validation("timezone", message)
}

/// What is selected of a website's rows, whatever the order that it was written in: type, bots and filters.
fn selection(request: &ExportRequest) -> String {
    let mut lines: Vec<String> = Vec::new();
    for filter in &request.filters {
        let name = filter.name();
        for (sign, values) in [('=', &filter.any_of), ('!', &filter.none_of)] {
            lines.extend(values.iter().map(|value| {
                let (kind, text) = match value {
                    Wanted::Exact(text) => ('=', text),
                    Wanted::Prefix(text) => ('^', text),
                };
                // With their lengths, so that no two selections are one text. It must never change.
                format!("{}:{name}{sign}{kind}{}:{text}", name.len(), text.len())
            }));
        }
    }
    lines.sort_unstable();
    lines.dedup();
    let kind = request.event_type.map_or("", |kind| kind.as_str());
    lines.push(format!("{kind} {}", request.include_bots));
    hex(&lines.join("\n"), SELECTION_DIGITS)
}

fn check(signed: &str) -> String {
    hex(signed, CHECK_DIGITS)
}

/// The first digits of a text's SHA-256.
fn hex(text: &str, digits: usize) -> String {
    let hash = Sha256::digest(text.as_bytes());
    let mut hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    hex.truncate(digits);
    hex
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on fails

    use super::*;
    use crate::request::Asked;

    const NOW: i64 = 1_780_000_000_000;

    fn asked(query: &str) -> Result<SinceRequest> {
        let website = WebsiteId::parse("site_a").unwrap();
        match Asked::from_query(website, query)? {
            Asked::Since(request) => Ok(request),
            Asked::Window(request) => panic!("{request:?}"),
        }
    }

    fn arrivals(counted: u64, recounted: u64) -> Arrivals {
        Arrivals {
            happened: Some(Interval {
                from: NOW - 5_000,
                until: NOW,
            }),
            rows: 3,
            recounted,
            counted,
        }
    }

    fn next_of(query: &str, fence: i64, arrivals: Arrivals) -> Arrived {
        let request = asked(query).unwrap();
        let bounds = request.bounds(Fence::at(fence)).unwrap();
        request.resolve(bounds, arrivals).unwrap().arrived.unwrap()
    }

    #[test]
    fn a_chain_goes_on_where_it_ended_and_never_back() {
        let settled = Fence::at(NOW).settled();
        let first = asked("since=beginning").unwrap();
        let bounds = first.bounds(Fence::at(NOW)).unwrap();
        assert_eq!((bounds.after, bounds.up_to), (None, settled));
        let arrived = next_of("since=beginning", NOW, arrivals(7, 0));
        assert_eq!(arrived.late_rows, 0);
        let next = arrived.next.unwrap();
        assert_eq!(next.up_to(), settled);

        let again = format!("since={next}");
        let bounds = asked(&again).unwrap().bounds(Fence::at(NOW + 60_000));
        let bounds = bounds.unwrap();
        assert_eq!(
            (bounds.after, bounds.up_to),
            (Some(settled), settled + 60_000)
        );
        assert_eq!(bounds.recounted_from, Some(settled - RECOUNTED_MS));
        let late = next_of(&again, NOW + 60_000, arrivals(9, 8));
        assert_eq!(late.late_rows, 1);
        // With fewer rows than before, none is late.
        assert_eq!(next_of(&again, NOW, arrivals(9, 6)).late_rows, 0);
        // With a clock that is behind, or more patience, there is nothing new.
        let bounds = asked(&again).unwrap().bounds(Fence::at(NOW - 60_000));
        let bounds = bounds.unwrap();
        assert_eq!((bounds.after, bounds.up_to), (Some(settled), settled));
        let error = asked(&again).unwrap().bounds(Fence::at(settled - 1));
        assert_eq!(error.unwrap_err().field(), Some("since"));
    }

    #[test]
    fn a_watermark_serves_its_website_and_selection_however_they_are_written() {
        let query = "since=beginning&event_type=event&country=DE&country=!AT&url=/a*&format=json";
        let next = next_of(query, NOW, arrivals(7, 0)).next.unwrap();
        for same in [
            "event_type=event&country=DE&country=!AT&url=/a*",
            "url=/a*&country=!AT&country=DE&event_type=event&timezone=Asia/Tokyo&fields=url&format=parquet",
            "url=/a*&url=/a*&country=!AT&country=DE&event_type=event",
        ] {
            assert!(asked(&format!("since={next}&{same}")).is_ok(), "{same}");
        }
        for other in [
            "",
            "event_type=event&country=DE&country=!AT&url=/a",
            "event_type=event&country=DE&country=AT&url=/a*",
            "event_type=pageview&country=DE&country=!AT&url=/a*",
            "event_type=event&country=DE&country=!AT&url=/a*&include_bots=true",
            "event_type=event&country=DE&country=!AT&url=/a*&city=",
        ] {
            let error = asked(&format!("since={next}&{other}")).unwrap_err();
            assert_eq!(error.field(), Some("since"), "{other}");
            assert!(error.message().contains("other filters"), "{error}");
        }
        let elsewhere = WebsiteId::parse("site_b").unwrap();
        let error = Asked::from_query(elsewhere, &format!("since={next}")).unwrap_err();
        assert!(error.message().contains("a watermark of site_a"), "{error}");
    }

    #[test]
    fn what_is_selected_is_known_by_the_same_digits_in_every_version() {
        for (query, digits) in [
            ("", "e4597ef55d648c9a"),
            (
                "event_type=event&country=DE&country=!AT&url=/a*&data.k%C3%A9=%F0%9F%8C%8D&city=",
                "34a1194e623fd4c2",
            ),
        ] {
            let request = asked(&format!("since=beginning&{query}")).unwrap();
            assert_eq!(selection(request.whole()), digits, "{query}");
        }
    }

    #[test]
    fn a_watermark_of_which_any_character_is_another_one_is_none() {
        let next = next_of("since=beginning", NOW, arrivals(7, 0))
            .next
            .unwrap();
        let text = next.to_string();
        assert_eq!(Watermark::parse(&text), Some(next));
        for place in 0..text.len() {
            for other in ["0", "9", "a", ".", "_", ""] {
                let mut damaged = text.clone();
                damaged.replace_range(place..=place, other);
                if damaged != text {
                    assert_eq!(Watermark::parse(&damaged), None, "{damaged}");
                }
            }
            assert_eq!(Watermark::parse(&text[..place]), None);
        }
        for bad in [
            "",
            "0",
            "Beginning",
            "2026-01-01T00:00:00Z",
            "wm1",
            "wm1......",
        ] {
            let error = asked(&format!("since={bad}")).unwrap_err();
            assert_eq!(error.field(), Some("since"), "{bad}");
        }
    }

    #[test]
    fn what_does_not_go_together_with_since_is_refused_by_name() {
        for (query, field) in [
            ("start_date=2026-01-01", "since"),
            ("end_date=2026-01-01", "since"),
            ("from=2026-01-01T00:00:00Z", "since"),
            ("to=2026-01-01T00:00:00Z", "since"),
            ("limit=5", "limit"),
            ("since=beginning", "since"),
        ] {
            let error = asked(&format!("since=beginning&{query}")).unwrap_err();
            assert_eq!(error.field(), Some(field), "{query}");
        }
    }
}
