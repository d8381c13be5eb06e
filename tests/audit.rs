//! Holds docs/audit.md to the events that the program has.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{collections::BTreeSet, fs, path::Path};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names that follow `audit!("` in the sources.
fn events(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            events(&path, found);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let uses = text.split("audit!(").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
        found.extend(uses.map(|rest| rest.split('"').next().unwrap().to_owned()));
    }
}

#[test]
fn every_event_is_in_the_reference_and_the_reference_names_no_other() {
    let mut found = BTreeSet::new();
    events(&root().join("src"), &mut found);
    assert!(found.len() > 10, "the events were not found: {found:?}");
    let page = fs::read_to_string(root().join("docs/audit.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let named: BTreeSet<String> = rows.map(|row| row.split('`').next().unwrap().to_owned()).collect();
    assert_eq!(named, found);
}
