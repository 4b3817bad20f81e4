//! The parameters of an export: what is taken means what it says, what is refused names its parameter, and the window holds
//! the instants of its days and no others.

use arbitrary::{Result, Unstructured};
use chrono::{DateTime, Datelike as _, Days, NaiveDate, Offset as _, TimeZone as _};
use chrono_tz::{TZ_VARIANTS, Tz};
use rowspout::decode::EventType;
use rowspout::error::{Error, ErrorKind};
use rowspout::pushdown::columns::COLUMNS;
use rowspout::request::{
    DATA_PREFIX, ExportRequest, FILTERS, Format, MAX_DAYS, Wanted, WebsiteId, Window,
};

use super::input::rest;

const NAMES: [&str; 13] = [
    "start_date",
    "end_date",
    "from",
    "to",
    "format",
    "timezone",
    "event_type",
    "include_bots",
    "fields",
    "limit",
    "compression",
    "event_data",
    "spreadsheet",
];

/// A query string, or days of a zone.
pub fn parameters(input: &[u8]) {
    let _ = check(&mut Unstructured::new(input));
}

fn check(u: &mut Unstructured<'_>) -> Result<()> {
    if u.ratio(1, 3)? {
        let text = String::from_utf8_lossy(rest(u)?).into_owned();
        any_query(&text);
        any_website(&text);
        return Ok(());
    }
    let zone = *u.choose(&TZ_VARIANTS)?;
    let start = day(u)?;
    let days = u.int_in_range(0..=MAX_DAYS + 1)?;
    let Some(end) = start.checked_add_days(Days::new(days)) else {
        return Ok(());
    };
    window(u, start, end, zone)?;
    between(u, start, zone)?;
    built_query(u, start, end, zone)
}

fn day(u: &mut Unstructured<'_>) -> Result<NaiveDate> {
    let year = match u.int_in_range(0..=7)? {
        0 => u.int_in_range(0..=9999)?,
        1 => u.int_in_range(1890..=1930)?,
        2 => u.int_in_range(2090..=2310)?,
        _ => u.int_in_range(1900..=2099)?,
    };
    let day = u.int_in_range(1..=365)?;
    Ok(NaiveDate::from_yo_opt(year, day).unwrap())
}

/// The date and the offset in seconds that a zone has at an instant.
fn local(zone: Tz, ms: i64) -> (NaiveDate, i32) {
    let time = DateTime::from_timestamp_millis(ms).unwrap().naive_utc();
    let offset = zone.offset_from_utc_datetime(&time).fix().local_minus_utc();
    let local = time + chrono::TimeDelta::seconds(i64::from(offset));
    (local.date(), offset)
}

/// The last year whose days are known: UTC, whatever it is called, changes never.
fn last_year(zone: Tz) -> i32 {
    let name = zone.name().trim_start_matches("Etc/");
    if ["UTC", "UCT", "Universal", "Zulu"].contains(&name) {
        2299
    } else {
        2099
    }
}

fn window(u: &mut Unstructured<'_>, start: NaiveDate, end: NaiveDate, zone: Tz) -> Result<()> {
    let window = Window::new(start, end, zone);
    let days = (end - start).num_days().unsigned_abs() + 1;
    let last_year = last_year(zone);
    let reachable = [start, end]
        .iter()
        .all(|day| (1900..=last_year).contains(&day.year()));
    let window = match window {
        Ok(window) => window,
        Err(error) => {
            let field = refused(&error);
            if days > MAX_DAYS {
                assert_eq!(field, "end_date");
            } else if reachable {
                // An offset of seconds, somewhere inside.
                assert_eq!(field, "timezone");
                let from = midnight(start) - 26 * 3_600_000;
                let hours = (0..(days as i64 + 2) * 24).map(|hour| from + hour * 3_600_000);
                assert!(
                    hours
                        .map(|ms| local(zone, ms).1)
                        .any(|offset| offset % 60 != 0)
                );
            } else {
                assert!(field == "start_date" || field == "end_date");
            }
            return Ok(());
        }
    };
    assert!(days <= MAX_DAYS && reachable);
    assert_eq!((window.start, window.end, window.zone), (start, end, zone));
    let intervals = &window.intervals;
    assert!(
        intervals
            .iter()
            .all(|interval| interval.from < interval.until)
    );
    assert!(
        intervals
            .windows(2)
            .all(|pair| pair[0].until < pair[1].from)
    );
    let transitions = &window.offsets.transitions;
    assert!(transitions.is_sorted_by(|a, b| a.0 < b.0 && a.1 != b.1));
    assert!(
        transitions
            .first()
            .is_none_or(|first| first.1 != window.offsets.first)
    );

    let edges = intervals
        .iter()
        .flat_map(|interval| [interval.from, interval.until]);
    let edges = edges.chain(transitions.iter().map(|transition| transition.0));
    let mut instants: Vec<i64> = edges.flat_map(|edge| [edge - 1, edge, edge + 1]).collect();
    let (from, until) = (midnight(start) - 100_000_000, midnight(end) + 200_000_000);
    for _ in 0..20 {
        instants.push(u.int_in_range(from..=until)?);
    }
    for day in 0..days as i64 {
        instants.push(midnight(start) + day * 86_400_000);
    }
    for ms in instants {
        let (date, offset) = local(zone, ms);
        let inside = intervals
            .iter()
            .any(|interval| (interval.from..interval.until).contains(&ms));
        assert_eq!(
            inside,
            (start..=end).contains(&date),
            "{ms} in {zone}, {start} to {end}"
        );
        if inside {
            let last = transitions.iter().rfind(|transition| transition.0 <= ms);
            let minutes = last.map_or(window.offsets.first, |transition| transition.1);
            assert_eq!(i32::from(minutes) * 60, offset, "{ms} in {zone}");
        }
    }
    neighbours(u, &window)
}

/// The time between two instants is that time, whatever the zone, and has the offsets of the zone.
fn between(u: &mut Unstructured<'_>, start: NaiveDate, zone: Tz) -> Result<()> {
    let from = midnight(start) + u.int_in_range(-100_000_000..=100_000_000i64)?;
    let length = match u.int_in_range(0..=3)? {
        0 => u.int_in_range(-1..=1)?,
        1 => u.int_in_range(0..=90 * 86_400_000 + 1)?,
        _ => u.int_in_range(1..=100_000_000)?,
    };
    let to = from + length;
    let window = match Window::between(from, to, zone) {
        Ok(window) => window,
        Err(error) => {
            let field = refused(&error);
            if length <= 0 || length > 90 * 86_400_000 {
                assert_eq!(field, "to");
            } else if field == "timezone" {
                let hours = (0..length / 3_600_000 + 1).map(|hour| from + hour * 3_600_000);
                let mut instants = hours.chain([to - 1]);
                assert!(instants.any(|ms| local(zone, ms).1 % 60 != 0));
            } else {
                let last_year = last_year(zone);
                let reaches = |ms| {
                    let year = DateTime::from_timestamp_millis(ms).unwrap().year();
                    year >= 1900 && local(zone, ms).0.year() <= last_year
                };
                assert!(!(reaches(from) && reaches(to - 1)), "{field}");
            }
            return Ok(());
        }
    };
    let whole = rowspout::request::Interval { from, until: to };
    assert_eq!(window.instants, Some(whole));
    assert_eq!(window.intervals, [whole]);
    assert_eq!(window.start, local(zone, from).0);
    assert_eq!(window.end, local(zone, to - 1).0);
    let transitions = &window.offsets.transitions;
    assert!(transitions.is_sorted_by(|a, b| a.0 < b.0 && a.1 != b.1));
    assert!(
        transitions
            .iter()
            .all(|change| (from + 1..to).contains(&change.0))
    );
    for _ in 0..10 {
        let ms = u.int_in_range(from..=to - 1)?;
        let last = transitions.iter().rfind(|transition| transition.0 <= ms);
        let minutes = last.map_or(window.offsets.first, |transition| transition.1);
        assert_eq!(i32::from(minutes) * 60, local(zone, ms).1, "{ms} in {zone}");
    }
    Ok(())
}

/// Two windows that follow each other are the window of both.
fn neighbours(u: &mut Unstructured<'_>, whole: &Window) -> Result<()> {
    let days = (whole.end - whole.start).num_days();
    if days == 0 {
        return Ok(());
    }
    let middle = whole.start + Days::new(u.int_in_range(1..=days)? as u64);
    let first = Window::new(whole.start, middle - Days::new(1), whole.zone).unwrap();
    let second = Window::new(middle, whole.end, whole.zone).unwrap();
    let mut parts: Vec<_> = [first.intervals, second.intervals].concat();
    parts.sort_by_key(|interval| interval.from);
    let mut joined: Vec<rowspout::request::Interval> = Vec::new();
    for part in parts {
        match joined.last_mut() {
            Some(last) if last.until == part.from => last.until = part.until,
            _ => joined.push(part),
        }
    }
    assert_eq!(joined, whole.intervals);
    Ok(())
}

fn midnight(day: NaiveDate) -> i64 {
    day.and_time(chrono::NaiveTime::MIN)
        .and_utc()
        .timestamp_millis()
}

/// The parameter that is named as wrong.
fn refused(error: &Error) -> String {
    assert_eq!(error.kind(), ErrorKind::Validation);
    assert!(
        !error.message().contains(char::is_control),
        "{:?}",
        error.message()
    );
    assert!(error.message().len() < 2000);
    let field = error.field().expect("a parameter is named");
    assert!(field.chars().count() <= 65 && !field.contains(char::is_control));
    field.to_owned()
}

fn site() -> WebsiteId {
    WebsiteId::parse("site_test").unwrap()
}

/// What any query is taken for is what a form reader finds in it.
fn any_query(query: &str) {
    let request = match ExportRequest::from_query(site(), query) {
        Ok(request) => request,
        Err(error) => {
            refused(&error);
            return;
        }
    };
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let is_filter = |name: &str| FILTERS.contains(&name) || name.starts_with(DATA_PREFIX);
    assert!(
        pairs
            .iter()
            .all(|(name, _)| NAMES.contains(&&**name) || is_filter(name))
    );
    filters(&request, pairs.iter().filter(|(name, _)| is_filter(name)));
    let value = |name: &str| {
        let mut values = pairs.iter().filter(|pair| pair.0 == name);
        let value = values.next().map(|pair| pair.1.clone().into_owned());
        assert!(values.next().is_none(), "{name} twice");
        value
    };
    match request.window.instants {
        None => {
            assert_eq!(value("start_date"), Some(request.window.start.to_string()));
            assert_eq!(value("end_date"), Some(request.window.end.to_string()));
            assert_eq!((value("from"), value("to")), (None, None));
        }
        Some(instants) => {
            for (name, ms) in [("from", instants.from), ("to", instants.until)] {
                let instant = DateTime::parse_from_rfc3339(&value(name).unwrap()).unwrap();
                assert_eq!(instant.timestamp_millis(), ms);
                assert_eq!(instant.timestamp_subsec_nanos() % 1_000_000, 0);
            }
            assert_eq!((value("start_date"), value("end_date")), (None, None));
        }
    }
    assert_eq!(
        value("format").as_deref().unwrap_or("csv"),
        request.format.as_str()
    );
    assert_eq!(
        value("timezone").as_deref().unwrap_or("UTC"),
        request.window.zone.name()
    );
    assert_eq!(
        value("event_type").as_deref(),
        request.event_type.map(EventType::as_str)
    );
    assert_eq!(
        value("include_bots").as_deref().unwrap_or("false"),
        request.include_bots.to_string()
    );
    let names: Vec<_> = request.fields.names().collect();
    let all = COLUMNS.join(",");
    assert_eq!(value("fields").unwrap_or(all), names.join(","));
    let limit = value("limit").map(|text| text.trim_start_matches('0').to_owned());
    assert_eq!(limit, request.limit.map(|limit| limit.to_string()));
    if let Some(compression) = value("compression") {
        assert_eq!(
            (request.compression.as_str(), request.format),
            (compression.as_str(), Format::Parquet)
        );
    }
    let event_data = request.data_as_string.then_some("string");
    assert_eq!(value("event_data").as_deref(), event_data);
    let spreadsheet = value("spreadsheet");
    assert_eq!(
        spreadsheet.as_deref().unwrap_or("false"),
        request.spreadsheet.to_string()
    );
    assert!(!request.spreadsheet || request.format == Format::Csv);
    named(&request);
}

/// The filters are those of the query, each value where it belongs and with its marks taken off.
fn filters<'a>(
    request: &ExportRequest,
    pairs: impl Iterator<Item = &'a (std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>)>,
) {
    let mut found: Vec<(String, Vec<Wanted>, Vec<Wanted>)> = Vec::new();
    for (name, value) in pairs {
        let (excludes, text) = match value.strip_prefix('!') {
            Some(rest) => (true, rest),
            None => (false, &**value),
        };
        let ends_in_star = text.ends_with('*')
            && text[..text.len() - 1]
                .bytes()
                .rev()
                .take_while(|byte| *byte == b'\\')
                .count()
                % 2
                == 0;
        let prefix = name == "url" && ends_in_star;
        let text = if prefix {
            &text[..text.len() - 1]
        } else {
            text
        };
        // A character that stands for itself in no text stands in for an escaped backslash.
        let plain = text
            .replace("\\\\", "\u{10ffff}")
            .replace('\\', "")
            .replace('\u{10ffff}', "\\");
        if text.contains('\u{10ffff}') {
            return;
        }
        let wanted = if prefix {
            Wanted::Prefix(plain)
        } else {
            Wanted::Exact(plain)
        };
        let place = found.iter().position(|(known, ..)| *known == **name);
        let place = place.unwrap_or_else(|| {
            found.push((name.clone().into_owned(), Vec::new(), Vec::new()));
            found.len() - 1
        });
        let (_, any, none) = &mut found[place];
        if excludes { none } else { any }.push(wanted);
    }
    let taken = request
        .filters
        .iter()
        .map(|filter| (filter.name(), filter.any_of.clone(), filter.none_of.clone()));
    assert_eq!(taken.collect::<Vec<_>>(), found);
}

fn named(request: &ExportRequest) {
    let name = request.file_name();
    assert!(
        name.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)),
        "{name}"
    );
}

fn any_website(text: &str) {
    for text in [text.to_owned(), format!("site_{text}")] {
        if let Some(id) = WebsiteId::parse(&text) {
            assert_eq!(id.as_str(), text);
            assert!(
                text.len() <= 69
                    && text
                        .bytes()
                        .all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b'"')
            );
        }
    }
}

/// A query that says something is taken for that, however it is written.
fn built_query(u: &mut Unstructured<'_>, start: NaiveDate, end: NaiveDate, zone: Tz) -> Result<()> {
    let format = *u.choose(&Format::ALL)?;
    let event_type = *u.choose(&[None, Some(EventType::Pageview), Some(EventType::Event)])?;
    let include_bots: bool = u.arbitrary()?;
    // Days, or the same time between two instants.
    let reached = (1901..2299).contains(&start.year());
    let instants =
        (reached && u.ratio(1, 4)?).then(|| (midnight(start), midnight(end) + 86_400_000));
    let instant = |ms: i64| {
        let instant = DateTime::from_timestamp_millis(ms).unwrap();
        instant.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
    };
    let ends = match instants {
        Some((from, to)) => [("from", instant(from)), ("to", instant(to))],
        None => [
            ("start_date", start.to_string()),
            ("end_date", end.to_string()),
        ],
    };
    let [first, last] = ends;
    let mut pairs = vec![
        first,
        last,
        ("format", format.to_string()),
        ("timezone", zone.name().to_owned()),
        ("include_bots", include_bots.to_string()),
    ];
    for (name, value) in [
        ("country", "DE"),
        ("country", "!"),
        ("url", "/a,b/*"),
        ("data.a.b", "\\!x"),
        ("fields", "url,timestamp,event_data"),
        ("limit", "18446744073709551615"),
        ("event_data", "string"),
    ] {
        if u.ratio(1, 4)? {
            pairs.push((name, value.to_owned()));
        }
    }
    pairs.extend(event_type.map(|event_type| ("event_type", event_type.as_str().to_owned())));
    let shift = u.int_in_range(0..=pairs.len() - 1)?;
    pairs.rotate_left(shift);
    let mut query = String::new();
    for (name, value) in pairs {
        for _ in 0..u.int_in_range(0..=1)? {
            query.push('&');
        }
        if !query.is_empty() {
            query.push('&');
        }
        for (at, text) in [name, &value].into_iter().enumerate() {
            for byte in text.bytes() {
                // Any character may be written as its number, and a plus sign must.
                if byte == b'+' || u.ratio(1, 8)? {
                    query += &format!("%{byte:02x}");
                } else {
                    query.push(byte.into());
                }
            }
            if at == 0 {
                query.push('=');
            }
        }
    }
    match (
        ExportRequest::from_query(site(), &query),
        match instants {
            Some((from, to)) => Window::between(from, to, zone),
            None => Window::new(start, end, zone),
        },
    ) {
        (Ok(request), Ok(window)) => {
            assert_eq!(request.window, window);
            assert_eq!(
                (request.format, request.event_type, request.include_bots),
                (format, event_type, include_bots)
            );
            any_query(&query);
        }
        (Err(error), Err(expected)) => assert_eq!(refused(&error), refused(&expected)),
        (found, expected) => panic!("{query}: {found:?} and {expected:?}"),
    }
    Ok(())
}
