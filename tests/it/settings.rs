//! The sample settings file: every setting is in it, and no other, each with its default.

use std::collections::BTreeSet;

use rowspout::config::{Config, Layer};

const SAMPLE: &str = include_str!("../../deploy/rowspout.toml");

/// What has no default that could stand in a file.
const WITHOUT_DEFAULT: [&str; 11] = [
    "clickhouse_password",
    "clickhouse_user",
    "libchdb",
    "log_password",
    "log_user",
    "max_exports",
    "max_exports_per_key",
    "parallel",
    "ticket_secret",
    "tls_cert",
    "tls_key",
];

/// The sample's settings, name and line, as they are once the `#` is taken away.
fn settings() -> Vec<(&'static str, &'static str)> {
    let lines = SAMPLE.lines().filter_map(|line| line.strip_prefix('#'));
    lines
        .filter_map(|line| Some((line.split_once(" = ")?.0, line)))
        .filter(|(name, _)| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        .collect()
}

fn read(text: &str) -> Result<Layer, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Layer::from_file(Some(file.path())).map_err(|error| error.to_string())
}

/// All settings as text, those that no text shows included.
fn resolved(text: &str) -> String {
    let layer = read(text).unwrap();
    let mut config = Config::resolve(Layer::default(), Layer::default(), layer).unwrap();
    // Whether an address was named is not a setting.
    config.clickhouse_named = false;
    format!("{config:?} {:?}", config.clickhouse.password)
}

/// The names of all settings, as the reader of a file tells them.
pub(crate) fn names() -> BTreeSet<String> {
    let refused = read("there_is_no_such_setting = 1").unwrap_err();
    let (_, known) = refused.split_once("expected one of ").unwrap();
    known
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_sample_file_has_every_setting_once_and_no_other() {
    let written: Vec<_> = settings().into_iter().map(|(name, _)| name).collect();
    let once: BTreeSet<_> = written.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(once.len(), written.len(), "one is there twice: {written:?}");
    let names = names();
    assert!(names.len() > 30);
    assert_eq!(once, names);
}

#[test]
fn the_sample_file_changes_nothing_as_it_is_and_says_every_default() {
    let defaults = resolved("");
    assert_eq!(resolved(SAMPLE), defaults);
    for (name, line) in settings() {
        if !WITHOUT_DEFAULT.contains(&name) {
            assert_eq!(resolved(line), defaults, "{name} has another default");
        }
    }
}

#[test]
fn what_has_no_default_is_shown_by_example_and_says_so() {
    let examples: Vec<_> = settings()
        .into_iter()
        .filter(|(name, _)| WITHOUT_DEFAULT.contains(name))
        .collect();
    assert_eq!(examples.len(), WITHOUT_DEFAULT.len());
    let text: String = examples
        .iter()
        .map(|(_, line)| format!("{line}\n"))
        .collect();
    let example = resolved(&text);
    for (name, line) in &examples {
        let others: String = examples
            .iter()
            .filter(|(other, _)| other.split('_').next() != name.split('_').next())
            .map(|(_, line)| format!("{line}\n"))
            .collect();
        assert_ne!(resolved(&others), example, "{name} changes nothing");
        let (above, _) = SAMPLE.split_once(&format!("\n#{line}\n")).unwrap();
        let paragraph = above.rsplit("\n\n").next().unwrap();
        assert!(paragraph.contains("No default"), "{name}: {paragraph}");
    }
}

#[test]
fn the_readme_names_every_setting() {
    let readme = include_str!("../../README.md");
    for name in names() {
        let upper = name.to_uppercase();
        // Those of one line share their beginning.
        let short = upper.replace("CLICKHOUSE_", "_");
        assert!(
            readme.contains(&format!("`{upper}`")) || readme.contains(&format!("`{short}`")),
            "{name} is not in the README"
        );
    }
}
