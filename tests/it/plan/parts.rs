//! Parts are the window, their rows its rows, and their files its file.

use super::*;

/// Holds a plan against plain SQL: the parts meet, stay within a day, and have the rows that lie there.
async fn check(database: &TestDatabase, query: &str, plan: &Value) {
    let parts = parts(plan);
    let mut rows = 0;
    let zone = plan["timezone"].as_str().expect("a zone");
    for (index, part) in parts.iter().enumerate() {
        let (from, to) = (ms(&part["from"]), ms(&part["to"]));
        assert!(from < to, "{part}");
        if let Some(next) = parts.get(index + 1) {
            assert!(to <= ms(&next["from"]), "{query}: {part} {next}");
        }
        let condition = condition(part, query);
        let count = found(database, "count()", &condition).await;
        assert_eq!(part["rows"].to_string(), count, "{query}: {part}");
        let days = format!("arraySort(groupUniqArray(toString(toDate(timestamp, '{zone}'))))");
        let days = found(database, &days, &condition).await;
        let day = part["day"].as_str().expect("a day");
        assert!(
            days == "[]" || days == format!("['{day}']"),
            "{query}: {part} {days}"
        );
        rows += part["rows"].as_u64().expect("a number");
    }
    assert_eq!(plan["rows"], rows, "{query}");
    let sum = |of: &str| -> f64 {
        let days = plan["days"].as_array().expect("days").iter();
        days.map(|day| day[of].as_f64().expect("a number")).sum()
    };
    assert_eq!(sum("rows"), rows as f64, "{query}");
    assert!(rows == 0 || (sum("share") - 1.0).abs() < 1e-9, "{query}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_are_the_window_and_their_files_together_its_file() {
    let mut random = Random::new();
    let database = database().await;
    insert::website(&database, SITE).await;
    let service = TestService::start(&database.config).await;
    let mut seen = 0;
    for round in 0..30 {
        if round % 6 == 0 {
            insert(
                &database,
                &random.value(prop::collection::vec(event(), 1..150)),
            )
            .await;
        }
        let (window, options) = (random.value(window()), random.value(options()));
        let rows = random.value(prop_oneof![1_u64..30, Just(1_000_000)]);
        let query = format!("{window}{options}");
        let format = ["ndjson", "csv"][round % 2];
        let plan = plan(
            &service,
            &format!("{query}&format={format}&part_rows={rows}"),
        )
        .await;
        check(&database, &query, &plan).await;
        let whole = service
            .export(SITE, &format!("{query}&format={format}"))
            .await;
        let whole = whole.body.expect("whole");
        let mut joined = Vec::new();
        for planned in parts(&plan) {
            let answer = part(&service, planned).await;
            // The plan knows the tag of each part but where days begin within a quarter of an hour.
            assert_eq!(tag(&answer), planned["etag"].as_str(), "{query}: {planned}");
            assert_eq!(answer.headers["cache-control"], "private, no-cache");
            let file = answer.body.expect("whole");
            let header = match format {
                "csv" if !joined.is_empty() => {
                    file.iter().position(|&b| b == b'\n').expect("a header") + 1
                }
                _ => 0,
            };
            joined.extend_from_slice(&file[header..]);
            seen += 1;
        }
        if parts(&plan).is_empty() && format == "csv" {
            continue;
        }
        assert!(joined == whole, "{query}: {plan}");
    }
    assert!(seen > 100, "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_never_divided_and_empty_days_have_a_part() {
    let database = database().await;
    insert::website(&database, SITE).await;
    let full: Vec<_> = (0..50)
        .map(|id| Event::at(START + DAY + id, id as u64))
        .collect();
    insert::events(&database, SITE, &full).await;
    let service = TestService::start(&database.config).await;
    let plan = plan(
        &service,
        "start_date=2026-03-27&end_date=2026-03-29&part_rows=7",
    )
    .await;
    let rows: Vec<_> = parts(&plan)
        .iter()
        .map(|part| part["rows"].clone())
        .collect();
    assert_eq!(rows, [0, 50, 0]);
    let days: Vec<_> = plan["days"]
        .as_array()
        .expect("days")
        .iter()
        .map(|day| &day["share"])
        .collect();
    assert_eq!(days, [0.0, 1.0, 0.0]);
    // A plan may have so many days as the URLs of their parts have room.
    let query = "start_date=1900-01-01&end_date=2149-12-31";
    let all = super::plan(&service, query).await;
    assert_eq!(parts(&all).len(), 91_311);
    assert_eq!(all["rows"], 50);
    let query = "start_date=1900-01-01&end_date=2299-12-31";
    let path = format!("/api/websites/{SITE}/export/plan?{query}");
    let refused = service.get(&path).await.error();
    assert_eq!(refused["field"], "part_rows", "{refused}");
    let long = "from=2020-01-01T00:00:00.5Z&to=2027-01-01T00:00:00Z&part_rows=49";
    let long = super::plan(&service, long).await;
    let parts = parts(&long);
    assert_eq!((parts.len(), &long["rows"]), (2_557, &50.into()));
    assert_eq!(ms(&parts[0]["from"]) % 1_000, 500);
    for pair in parts.windows(2) {
        assert_eq!(pair[0]["to"], pair[1]["from"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_has_its_place_until_it_was_sent() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let database = database().await;
    insert::website(&database, SITE).await;
    let mut settings = crate::support::service::config(&database.config);
    settings.max_exports_per_key = 1;
    let service = TestService::start_with(settings).await;
    // More than sockets hold.
    let long = "start_date=1900-01-01&end_date=2149-12-31";
    let request = format!(
        "GET /api/websites/{SITE}/export/plan?{long} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        service.key
    );
    let stream = tokio::net::TcpStream::connect(service.address).await;
    let mut stream = stream.expect("a connection");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = vec![0; 1_024];
    stream.read_exact(&mut head).await.expect("the head");
    assert!(head.starts_with(b"HTTP/1.1 200"));
    let short =
        format!("/api/websites/{SITE}/export/plan?start_date=2026-03-27&end_date=2026-03-27");
    let refused = service.get(&short).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    drop(stream);
    let begun = std::time::Instant::now();
    while service.get(&short).await.status != StatusCode::OK {
        assert!(begun.elapsed().as_secs() < 60, "the place is not free");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn days_that_zones_made_odd_are_planned_as_well() {
    let database = database().await;
    insert::website(&database, SITE).await;
    let at = |text: &str| {
        chrono::DateTime::parse_from_rfc3339(text)
            .expect("an instant")
            .timestamp_millis()
    };
    let mut events = Vec::new();
    for edge in [
        // Apia skipped a day, St. John's went back over midnight by a minute, Singapore was at +07:20.
        at("2011-12-30T10:00:00Z"),
        at("2006-10-29T02:31:00Z"),
        at("2006-10-29T03:30:00Z"),
        at("1935-03-01T16:40:00Z"),
        at("1969-12-31T18:30:00Z"),
    ] {
        for near in -40..40 {
            events.push(Event::at(edge + near * 47_000, events.len() as u64));
        }
    }
    insert(&database, &events).await;
    let service = TestService::start(&database.config).await;
    for (query, known, empty) in [
        (
            "start_date=2011-12-29&end_date=2011-12-31&timezone=Pacific/Apia",
            true,
            false,
        ),
        (
            "start_date=2011-12-30&end_date=2011-12-30&timezone=Pacific/Apia",
            false,
            true,
        ),
        (
            "start_date=2006-10-28&end_date=2006-10-29&timezone=America/St_Johns",
            false,
            false,
        ),
        (
            "start_date=2006-10-29&end_date=2006-10-29&timezone=America/St_Johns",
            false,
            false,
        ),
        (
            "start_date=1935-03-01&end_date=1935-03-02&timezone=Asia/Singapore",
            false,
            false,
        ),
        (
            "start_date=1969-12-31&end_date=1970-01-02&timezone=Asia/Kathmandu",
            true,
            false,
        ),
    ] {
        let query = format!("{query}&format=ndjson");
        let plan = plan(&service, &format!("{query}&part_rows=5")).await;
        assert_eq!(parts(&plan).is_empty(), empty, "{query}");
        check_rows(&database, &plan).await;
        let mut joined = Vec::new();
        for planned in parts(&plan) {
            assert_eq!(planned["etag"].is_string(), known, "{query}");
            joined.extend_from_slice(&part(&service, planned).await.body.expect("whole"));
        }
        let whole = service.export(SITE, &query).await.body.expect("whole");
        assert!(joined == whole, "{query}: {plan}");
        assert!(empty || joined.len() > 1_000, "{query}");
    }
    // An offset that no export can write is refused alike.
    let query = "start_date=1960-01-01&end_date=1960-01-02&timezone=Africa/Monrovia";
    let refused = service
        .get(&format!("/api/websites/{SITE}/export/plan?{query}"))
        .await;
    assert_eq!(
        (refused.status.as_u16(), refused.error()["field"].as_str()),
        (400, Some("timezone"))
    );
}

/// ClickHouse's own dates are wrong for some of these days, so only rows are compared.
async fn check_rows(database: &TestDatabase, plan: &Value) {
    for part in parts(plan) {
        let count = found(database, "count()", &condition(part, "")).await;
        assert_eq!(part["rows"].to_string(), count, "{part}");
    }
}
