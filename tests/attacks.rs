//! Holds docs/attacks.md to the tests that there are.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::{collections::BTreeSet, fs, ops::RangeInclusive, path::Path};

/// The numbers of the attacks that have a row.
const ATTACKS: [RangeInclusive<u32>; 4] = [1..=29, 35..=35, 37..=41, 45..=45];

/// One row: its number, and the cell that names tests between backticks.
struct Row {
    number: u32,
    defence: String,
    tried_by: String,
}

impl Row {
    fn parse(line: &str) -> Option<Self> {
        let cells: Vec<&str> = line.strip_prefix("| ")?.split('|').map(str::trim).collect();
        let number = cells.first()?.parse().ok()?;
        assert_eq!(cells.len(), 5, "attack {number} has a cell too many or too few: {line}");
        let [defence, tried_by] = [cells[2], cells[3]].map(str::to_owned);
        Some(Self { number, defence, tried_by })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.tried_by.split('`').skip(1).step_by(2)
    }

    /// What is wrong with a name.
    fn fault(&self, name: &str) -> Option<String> {
        let (file, test) = name.split_once("::").map_or((name, None), |(file, test)| (file, Some(test)));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let why = match (fs::read_to_string(path), test) {
            (Err(_), _) => "is no file",
            (Ok(text), Some(test)) if !has_test(&text, test) => "is no test of that file",
            (Ok(_), None) if !file.starts_with("tests/recipes/") => "names no test",
            (Ok(_), _) => return None,
        };
        Some(format!("attack {}: {name} {why}", self.number))
    }
}

/// Whether a file has a test of that name: a function marked as one, or one that a macro of tests lists.
fn has_test(text: &str, test: &str) -> bool {
    let above = text.find(&format!("fn {test}(")).and_then(|at| text[..at].rsplit_once('\n'));
    let mark = above.and_then(|(above, _)| above.lines().next_back()).unwrap_or_default().trim_start();
    mark.starts_with("#[test]") || mark.starts_with("#[tokio::test") || listed(text).any(|name| name == test)
}

/// What stands in the list of a macro that makes tests.
fn listed(text: &str) -> impl Iterator<Item = &str> {
    let lists =
        ["on_both_stores!", "each_target!"].into_iter().filter_map(|macro_name| text.rsplit_once(macro_name));
    lists.flat_map(|(_, list)| list[1..].split([']', ')']).next().unwrap_or("").split(',').map(str::trim))
}

fn rows() -> Vec<Row> {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/attacks.md");
    fs::read_to_string(document).unwrap().lines().filter_map(Row::parse).collect()
}

#[test]
fn every_attack_has_its_row_once() {
    let numbers: Vec<u32> = rows().iter().map(|row| row.number).collect();
    let expected: BTreeSet<u32> = ATTACKS.into_iter().flatten().collect();
    assert_eq!(numbers.iter().copied().collect::<BTreeSet<_>>(), expected);
    assert_eq!(numbers.len(), expected.len(), "a number is listed twice");
}

#[test]
fn every_test_that_is_named_is_there() {
    let mut faults = Vec::new();
    for row in rows() {
        faults.extend(row.names().filter_map(|name| row.fault(name)));
        let is_named_or_not_built = row.names().count() > 0 || row.defence.starts_with("Not built yet");
        assert!(is_named_or_not_built, "attack {} names no test", row.number);
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn what_is_not_there_is_found_out() {
    let fault = |name: &str| Row::parse(&format!("| 1 | a | b | `{name}` |")).unwrap().fault(name);
    for right in [
        "tests/attacks.rs::what_is_not_there_is_found_out",
        "tests/api/sign_in.rs::a_session_is_signed_in_once",
        "tests/store/writers.rs::two_instances_that_write_all_the_time_keep_nobody_out",
        "tests/recipes/node/refusals.mjs",
    ] {
        assert_eq!(fault(right), None);
    }
    for wrong in [
        "tests/attacks.rs::rows",
        "tests/attacks.rs::no_such_test",
        "tests/no_such_file.rs::rows",
        "tests/attacks.rs",
        "tests/recipes/no_such_recipe.mjs",
    ] {
        assert!(fault(wrong).is_some(), "{wrong}");
    }
}
