//! The manual leads nowhere that is not there.

use std::path::{Path, PathBuf};

/// Every page that people read.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md"), root.join("schema/README.md")];
    let docs = std::fs::read_dir(root.join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    pages.extend(docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    assert!(pages.len() > 5);
    pages
}

/// Where a page's links lead to, those to other hosts left out.
fn links(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0))
        .filter(|link| !link.contains("://"))
        .collect()
}

/// The anchors of a page's headings, as they are made from the text.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let kept = line.trim_start_matches('#').trim().to_lowercase();
            let kept = kept
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

#[test]
fn every_link_of_the_manual_leads_to_a_file_and_a_heading() {
    let mut followed = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            assert!(target.exists(), "{}: {link}", page.display());
            if !anchor.is_empty() {
                let there = std::fs::read_to_string(&target).unwrap();
                let known = anchors(&there).iter().any(|known| known == anchor);
                assert!(known, "{}: {link}", page.display());
            }
            followed += 1;
        }
    }
    assert!(followed > 15, "{followed}");
}

#[test]
fn every_page_of_the_manual_is_linked_from_the_readme() {
    let readme = include_str!("../../README.md");
    for page in pages() {
        let name = page.file_name().unwrap().to_str().unwrap();
        let linked = name == "README.md" || readme.contains(&format!("](docs/{name})"));
        assert!(linked, "{name}");
    }
}
