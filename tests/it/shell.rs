//! Completions and manual pages: they know every command, and need no settings.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

/// Runs in a folder whose settings file is broken.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    std::fs::write(folder.join("rowspout.toml"), "no such setting").unwrap();
    Command::new(env!("CARGO_BIN_EXE_rowspout"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn printed(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that `--help` lists.
fn commands(folder: &Path) -> BTreeSet<String> {
    let help = printed(folder, &["--help"]);
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    let names: BTreeSet<_> = lines
        .filter(|line| !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .filter(|name| name != "help")
        .collect();
    assert!(names.len() > 9 && names.contains("export"), "{names:?}");
    names
}

#[test]
fn completions_of_every_shell_know_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = printed(folder.path(), &["completions", shell]);
        for name in commands(folder.path()) {
            assert!(script.contains(&name), "{shell} does not know {name}");
        }
        assert!(script.contains("include-bots"), "{shell}");
    }
    let unknown = run(folder.path(), &["completions", "tcsh"]);
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn bash_completes_a_command_with_the_script() {
    let folder = tempfile::tempdir().unwrap();
    let script = printed(folder.path(), &["completions", "bash"]);
    let asked = format!(
        "{script}\nCOMP_WORDS=(rowspout exp) COMP_CWORD=1\n_rowspout rowspout exp rowspout\necho \"${{COMPREPLY[@]}}\""
    );
    let output = Command::new("bash").args(["-c", &asked]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), "export", "{output:?}");
}

#[test]
fn there_is_a_page_of_the_program_and_of_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let page = printed(folder.path(), &["man"]);
    assert!(page.contains(".TH rowspout 1"), "{page}");
    for name in commands(folder.path()) {
        assert!(page.contains(&format!("rowspout\\-{name}(1)")), "{name}");
    }
    printed(folder.path(), &["man", "--dir", "pages"]);
    let pages = folder.path().join("pages");
    assert_eq!(
        std::fs::read_to_string(pages.join("rowspout.1"))
            .unwrap()
            .trim(),
        page.trim()
    );
    for name in commands(folder.path()) {
        let page = std::fs::read_to_string(pages.join(format!("rowspout-{name}.1"))).unwrap();
        assert!(page.contains(".SH OPTIONS"), "{name}");
    }
    std::fs::write(folder.path().join("file"), "").unwrap();
    let refused = run(folder.path(), &["man", "--dir", "file"]);
    assert_eq!(refused.status.code(), Some(2));
}
