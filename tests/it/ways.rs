//! Ways to the same file: wires, numbers of cursors, parts that overlap, and a view that hides them.

use rowspout::decode::Wire;

use crate::support::insert;
use crate::support::service::{TestService, config};

const RANGE: &str =
    "start_date=2026-01-01&end_date=2026-03-31&include_bots=true&timezone=Europe/Berlin";

#[tokio::test(flavor = "multi_thread")]
async fn a_files_bytes_are_the_same_whichever_way_its_rows_come() {
    let database = insert::traffic(300_000).await;
    // From the middle of the window on every row lies beside one of another part.
    for sql in [
        "SYSTEM STOP MERGES events",
        "INSERT INTO events SELECT * REPLACE (event_id + 1000000000 AS event_id) FROM events WHERE timestamp >= '2026-02-14'",
        "CREATE VIEW seen AS SELECT * FROM events",
    ] {
        let run = database.client.query_raw(sql).execute().await;
        run.expect(sql);
    }
    for format in ["csv", "json", "ndjson", "parquet", "arrow"] {
        let mut whole = None;
        for wire in [Wire::RowBinary, Wire::Native] {
            for parallel in [1, 3] {
                for table in ["events", "seen"] {
                    let mut settings = config(&database.config);
                    settings.wire = wire;
                    settings.parallel = parallel;
                    settings.events_table = table.into();
                    let service = TestService::start_with(settings).await;
                    let query = format!("{RANGE}&format={format}");
                    let answer = service.export("site_demo", &query).await;
                    let case = format!("{format} of {table} over {wire:?} with {parallel}");
                    assert_eq!(answer.status, 200, "{case}: {answer:?}");
                    let file = answer.body.expect(&case);
                    assert!(file.len() > 1_000_000, "{case}: {}", file.len());
                    let whole = whole.get_or_insert_with(|| file.clone());
                    assert!(file == *whole, "{case} differs");
                }
            }
        }
    }
}
