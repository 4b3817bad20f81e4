//! Over TLS, and with it HTTP/2.

use std::collections::BTreeSet;

use rowspout::config::TlsFiles;

use super::*;
use crate::support::service::config;

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_a_certificate_of_ones_own_is_pulled_from_over_http2() {
    let database = traffic(30_000).await;
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (kept, folder) = place();
    let files = TlsFiles {
        cert: kept.path().join("cert.pem"),
        key: kept.path().join("key.pem"),
    };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let mut settings = config(&database.config);
    settings.tls = Some(files.clone());
    let service = TestService::start_with(settings).await;
    let url = format!("https://localhost:{}", service.address.port());
    let arguments = [
        &WEEK[..],
        &["--format", "ndjson", "--part-rows", "200", "--retries", "0"],
    ]
    .concat();

    let output = command(&url, &service.key, &folder, &arguments)
        .output()
        .await;
    let said = failed(&output.unwrap(), 1);
    assert!(said.contains("certificate"), "{said}");
    assert!(manifest(&folder).is_none());

    let trusting = [&arguments[..], &["--cacert", files.cert.to_str().unwrap()]].concat();
    let output = command(&url, &service.key, &folder, &trusting)
        .output()
        .await;
    succeeded(&output.unwrap());
    let plain = TestService::start_without_key(config(&database.config), service.key.clone()).await;
    let unbroken = export(&plain, &format!("{WEEK_QUERY}&format=ndjson")).await;
    let parts = told_parts(&folder);
    let sizes: BTreeSet<_> = parts.values().map(Vec::len).collect();
    assert!(sizes.len() > 10);
    assert_eq!(parts.into_values().collect::<Vec<_>>().concat(), unbroken);
}
