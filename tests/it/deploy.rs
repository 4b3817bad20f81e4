//! What can be known of the files in `deploy/` without a container engine or systemd.

use std::path::{Path, PathBuf};
use std::process::Command;

use rowspout::config::{DEFAULT_DRAIN_SECONDS, DEFAULT_GRACE_SECONDS};
use yaml_rust2::{Yaml, YamlLoader};

use crate::settings;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect(name)
}

fn compose() -> Yaml {
    YamlLoader::load_from_str(&text("compose.yaml"))
        .unwrap()
        .remove(0)
}

#[test]
fn every_variable_in_them_is_a_setting() {
    let names = settings::names();
    let mut found = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for rest in text.split("ROWSPOUT_").skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_uppercase() && c != '_');
            let name = &rest[..end.unwrap_or(rest.len())];
            // `ROWSPOUT_` alone is what names begin with.
            let known = name.is_empty() || names.contains(&name.to_lowercase());
            assert!(known, "{} names ROWSPOUT_{name}", path.display());
            found += usize::from(!name.is_empty());
        }
    }
    assert!(found > 10);
}

#[test]
fn the_compose_file_mounts_files_that_exist_and_gives_exports_time_to_end() {
    let compose = compose();
    let services = compose["services"].as_hash().unwrap();
    assert_eq!(services.len(), 3);
    let mut files = 0;
    for volume in compose["services"]["clickhouse"]["volumes"]
        .as_vec()
        .unwrap()
    {
        let (from, _) = volume.as_str().unwrap().split_once(':').unwrap();
        if from.starts_with('.') {
            assert!(folder().join(from).is_file(), "{from}");
            files += 1;
        }
    }
    assert_eq!(files, 2);
    let (built, used) = (
        &compose["services"]["tables"],
        &compose["services"]["rowspout"],
    );
    let dockerfile = built["build"]["dockerfile"].as_str();
    assert_eq!(dockerfile, Some("deploy/Dockerfile"));
    assert_eq!(built["image"], used["image"]);
    let patience = compose["services"]["rowspout"]["stop_grace_period"].as_str();
    let patience = patience
        .unwrap()
        .trim_end_matches('s')
        .parse::<u64>()
        .unwrap();
    assert!(patience > DEFAULT_DRAIN_SECONDS + DEFAULT_GRACE_SECONDS);
}

#[test]
fn the_compose_files_commands_are_those_of_the_program() {
    let compose = compose();
    let words = compose["services"]["tables"]["command"].as_vec().unwrap();
    let words = words.iter().map(|word| word.as_str().unwrap());
    let help = Command::new(env!("CARGO_BIN_EXE_rowspout"))
        .args(words)
        .arg("--help")
        .output()
        .unwrap();
    assert!(help.status.success());
}

#[test]
fn the_image_is_built_with_the_oldest_compiler_that_the_package_names() {
    let cargo: toml::Table = include_str!("../../Cargo.toml").parse().unwrap();
    let version = cargo["package"]["rust-version"].as_str().unwrap();
    let from = format!("FROM rust:{version}-slim-bookworm AS build\n");
    assert!(text("Dockerfile").contains(&from));
}

#[test]
fn the_unit_runs_the_service_and_gives_exports_time_to_end() {
    let unit = text("rowspout.service");
    let value = |name: &str| {
        let mut lines = unit
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        lines.next().expect(name).to_owned()
    };
    let patience: u64 = value("TimeoutStopSec").parse().unwrap();
    assert!(patience > DEFAULT_DRAIN_SECONDS + DEFAULT_GRACE_SECONDS);
    let start = value("ExecStart");
    let words: Vec<_> = start.split(' ').collect();
    let help = Command::new(env!("CARGO_BIN_EXE_rowspout"))
        .args(&words[1..])
        .arg("--help")
        .output()
        .unwrap();
    assert!(help.status.success());

    // Where systemd is, it reads the unit itself; the program that it names has to be there for that.
    let scratch = tempfile::tempdir().unwrap();
    let copy = scratch.path().join("rowspout.service");
    std::fs::write(
        &copy,
        unit.replace(words[0], env!("CARGO_BIN_EXE_rowspout")),
    )
    .unwrap();
    match Command::new("systemd-analyze")
        .arg("verify")
        .arg(&copy)
        .output()
    {
        Ok(verified) => {
            let said = String::from_utf8_lossy(&verified.stderr).into_owned();
            assert!(verified.status.success(), "{said}");
        }
        Err(error) => eprintln!("systemd-analyze is not here: {error}"),
    }
}
