//! Websites and keys: what is refused, what is stored, what a revocation does.

use std::process::Output;

use rowspout::catalog::{Catalog, KeyHash};
use rowspout::config::ClickHouse;
use rowspout::error::ErrorKind;
use rowspout::request::WebsiteId;

use crate::support::command::rowspout;
use crate::support::insert::{self, database};

fn run(clickhouse: &ClickHouse, arguments: &[&str]) -> Output {
    rowspout(clickhouse)
        .args(arguments)
        .output()
        .expect("rowspout runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_website_is_added_once_with_a_zone_that_exists() {
    let database = database().await;
    let catalog = Catalog::new(&database.config);
    let id = WebsiteId::parse("site_a").expect("an id");
    assert_eq!(catalog.website(&id).await.expect("an answer"), None);
    let error = catalog
        .add_website(&id, "A", "Mars/Olympus")
        .await
        .expect_err("no zone");
    assert!(error.message().contains("Europe/Berlin"), "{error}");
    let error = catalog
        .add_website(&id, "A\nB", "UTC")
        .await
        .expect_err("two lines");
    assert!(error.message().contains("line break"), "{error}");
    catalog
        .add_website(&id, "O'Brien \\ \"Söhne\"", "America/Sao_Paulo")
        .await
        .expect("added");
    let error = catalog
        .add_website(&id, "Another", "UTC")
        .await
        .expect_err("twice");
    assert!(error.message().contains("site_a"), "{error}");
    let websites = catalog.list_websites().await.expect("websites");
    assert_eq!(websites.len(), 1);
    assert_eq!(websites[0].name, "O'Brien \\ \"Söhne\"");
    assert_eq!(
        catalog.website(&id).await.expect("an answer").as_ref(),
        websites.first()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_keys_hash_is_stored_and_the_key_is_printed_alone() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let created = run(
        &database.config,
        &["key", "create", "--site", "site_a", "--name", "for tests"],
    );
    assert!(created.status.success(), "{}", text(&created.stderr));
    let key = text(&created.stdout).strip_suffix('\n').expect("one line");
    let secret = key.strip_prefix("spk_selfhosted_").expect("the prefix");
    assert!(
        secret.len() == 32 && secret.bytes().all(|b| b.is_ascii_hexdigit()),
        "{key}"
    );

    let stored = database
        .client
        .query_raw(
            "SELECT toString(tuple(*)), hash = lower(hex(SHA256({key:String}))) FROM api_keys",
        )
        .param("key", key)
        .fetch_one::<(String, bool)>()
        .await
        .expect("a row");
    assert!(stored.1, "the hash is not the key's SHA-256");
    assert!(!stored.0.contains(secret));
    let listed = run(&database.config, &["key", "list"]);
    let listed = text(&listed.stdout);
    assert!(
        listed.contains("for tests") && listed.contains("site_a") && listed.contains("key_"),
        "{listed}"
    );
    let hash = database
        .client
        .query_raw("SELECT hash FROM api_keys")
        .fetch_one::<String>()
        .await
        .expect("a hash");
    assert!(!listed.contains(secret) && !listed.contains(&hash));

    let catalog = Catalog::new(&database.config);
    let record = catalog
        .find_key(&KeyHash::of(key))
        .await
        .expect("an answer")
        .expect("the key");
    assert!(record.opens("site_a") && !record.opens("site_b"));
    // Neither another key, nor the hash in the key's place, nor what is no key at all.
    for wrong in [
        "",
        &hash,
        secret,
        "spk_selfhosted_00000000000000000000000000000000",
        "' OR 1 = 1 --",
        "\\",
        "{a:String}",
    ] {
        let found = catalog
            .find_key(&KeyHash::of(wrong))
            .await
            .expect("an answer");
        assert_eq!(found, None, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_websites_opens_all_of_them() {
    let database = database().await;
    let catalog = Catalog::new(&database.config);
    let key = catalog.create_key(&[], "all").await.expect("a key");
    let record = catalog
        .find_key(&KeyHash::of(&key))
        .await
        .expect("an answer")
        .expect("the key");
    assert!(record.opens("site_a") && record.opens("site_of_tomorrow"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_for_a_website_that_does_not_exist_is_refused_by_name() {
    let database = database().await;
    insert::website(&database, "site_a").await;
    let catalog = Catalog::new(&database.config);
    let sites = ["site_a".to_owned(), "site_nowhere".to_owned()];
    let error = catalog.create_key(&sites, "").await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.message().contains("site_nowhere") && error.message().contains("site add"),
        "{error}"
    );
    let error = catalog
        .create_key(&["nowhere".into()], "")
        .await
        .expect_err("refused");
    assert_eq!(error.exit_code(), 2);
    assert!(catalog.list_keys().await.expect("keys").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_gone_at_once_and_for_good() {
    let database = database().await;
    let catalog = Catalog::new(&database.config);
    let key = catalog.create_key(&[], "lost laptop").await.expect("a key");
    let other = catalog.create_key(&[], "kept").await.expect("a key");
    let id = catalog
        .find_key(&KeyHash::of(&key))
        .await
        .expect("an answer")
        .expect("the key")
        .id;

    let error = catalog
        .revoke_key("key_00000000")
        .await
        .expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    catalog.revoke_key(&id).await.expect("revoked");
    assert_eq!(
        catalog
            .find_key(&KeyHash::of(&key))
            .await
            .expect("an answer"),
        None
    );
    assert!(
        catalog
            .find_key(&KeyHash::of(&other))
            .await
            .expect("an answer")
            .is_some()
    );
    let error = catalog.revoke_key(&id).await.expect_err("twice");
    assert!(error.message().contains("before"), "{error}");

    // Neither merging rows nor a profile that filters before FINAL brings it back.
    database
        .client
        .query_raw("OPTIMIZE TABLE api_keys FINAL")
        .execute()
        .await
        .expect("merged");
    assert_eq!(
        catalog
            .find_key(&KeyHash::of(&key))
            .await
            .expect("an answer"),
        None
    );
    let keys = catalog.list_keys().await.expect("keys");
    let states: Vec<_> = keys
        .iter()
        .map(|key| (key.name.as_str(), key.revoked))
        .collect();
    assert_eq!(states, [("lost laptop", true), ("kept", false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tables_or_server_the_remedy_is_said() {
    let database = crate::support::clickhouse().await;
    let listed = run(&database.config, &["site", "list"]);
    assert_eq!(listed.status.code(), Some(1));
    assert!(
        text(&listed.stderr).contains("rowspout schema apply"),
        "{}",
        text(&listed.stderr)
    );
    let mut nowhere = database.config.clone();
    nowhere.url = "http://127.0.0.1:9".into();
    let listed = run(&nowhere, &["key", "list"]);
    assert_eq!(listed.status.code(), Some(1));
    let said = text(&listed.stderr);
    assert!(
        said.contains("cannot be reached") && said.contains("127.0.0.1:9"),
        "{said}"
    );
    let added = run(&database.config, &["site", "add", "abc", "--name", "A"]);
    assert_eq!(added.status.code(), Some(2), "{}", text(&added.stderr));
}
