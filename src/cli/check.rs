//! `rowspout check`: whether ClickHouse is as exports need it.

use super::print;
use crate::check::{self, Verdict};
use crate::config::Config;
use crate::error::{Error, Result};

/// Prints a line a finding. Exit code 1 where one of them failed.
pub(super) async fn run(config: &Config) -> Result<()> {
    let findings = check::run(config).await;
    for finding in &findings {
        print(format_args!("{finding}"))?;
    }
    let count = |verdict| {
        let findings = findings.iter();
        findings
            .filter(|finding| finding.verdict == verdict)
            .count()
    };
    match count(Verdict::Failed) {
        0 => Ok(()),
        failed => Err(Error::internal(format!(
            "{failed} of {} checks failed: the lines above say what to do",
            findings.len()
        ))),
    }
}
