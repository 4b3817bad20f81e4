//! Headers that somebody tries to write through parameters and through the names of websites.

use hyper::Method;
use rowspout::catalog::Catalog;
use rowspout::request::WebsiteId;

use super::Target;
use crate::support::insert::database;
use crate::support::service::TestService;

#[tokio::test(flavor = "multi_thread")]
async fn no_parameter_writes_a_header() {
    let target = Target::start().await;
    let injections = [
        "%0d%0aX-Injected:%20yes",
        "%0aX-Injected:%20yes",
        "%0d%0a%0d%0aHTTP/1.1%20200%20OK%0d%0aX-Injected:%20yes",
        "%E5%98%8A%E5%98%8DX-Injected:%20yes",
        "%00",
        "%22;filename=%22x.exe",
        "%3Cscript%3E",
    ];
    for name in [
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
        "x",
    ] {
        for injection in injections {
            let mut query = format!("{name}=csv{injection}");
            for (other, value) in [("start_date", "2026-01-01"), ("end_date", "2026-01-01")] {
                if other != name {
                    query.push_str(&format!("&{other}={value}"));
                }
            }
            for query in [
                query.clone(),
                query.replacen('=', &format!("{injection}="), 1),
            ] {
                let path = format!("/api/websites/site_demo/export?{query}");
                let answer = target.process.http.get(&path).await;
                assert_eq!(answer.status, 400, "{query}: {}", answer.head);
                assert!(answer.header("x-injected").is_none(), "{}", answer.head);
                assert_eq!(answer.header("content-type"), Some("application/json"));
                let error: serde_json::Value = serde_json::from_str(answer.text()).expect("JSON");
                assert_eq!(error["error"]["code"], "validation_error");
                // In the body it stands as text, without a control character.
                assert!(
                    !answer.text().chars().any(char::is_control),
                    "{}",
                    answer.text()
                );
            }
        }
    }
    target.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_websites_name_writes_a_header() {
    let database = database().await;
    let catalog = Catalog::new(&database.config);
    let service = TestService::start(&database.config).await;
    for (number, name) in [
        "Quote\"; filename=\"evil.exe",
        "../../etc/passwd",
        "<script>alert(1)</script>",
        "Größe \u{202e}txt.exe",
    ]
    .into_iter()
    .enumerate()
    {
        let site = format!("site_{number}");
        let id = WebsiteId::parse(&site).expect("an id");
        catalog.add_website(&id, name, "UTC").await.expect("added");
        let path = format!("/api/websites/{site}/export?start_date=2026-01-01&end_date=2026-01-01");
        for method in [Method::GET, Method::HEAD] {
            let answer = service.send(method, &path, Some(&service.key)).await;
            assert_eq!(answer.status, 200);
            let expected =
                format!("attachment; filename=\"events_{site}_2026-01-01_2026-01-01.csv\"");
            assert_eq!(answer.headers["content-disposition"], expected.as_str());
        }
    }
    for name in ["a\r\nX-Injected: yes", "a\nb", "a\0b", "a\tb"] {
        let id = WebsiteId::parse("site_refused").expect("an id");
        let error = catalog.add_website(&id, name, "UTC").await;
        assert_eq!(error.expect_err("refused").exit_code(), 2);
    }
    // Even a row that was written past Rowspout is never reached: such an id is no path.
    let site = "site_x\r\nX-Injected: yes";
    database
        .client
        .query_raw("INSERT INTO websites (id, name) SELECT {id:String}, 'x'")
        .param("id", site)
        .execute()
        .await
        .expect("written");
    let path = "/api/websites/site_x%0d%0aX-Injected:%20yes/export?start_date=2026-01-01&end_date=2026-01-01";
    let answer = service.get(path).await;
    assert_eq!(answer.status, 404);
    assert!(answer.headers.get("x-injected").is_none());
}
