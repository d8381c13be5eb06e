//! Each fuzz target for some seconds, on inputs near its seeds.
//!
//! `COUNTERSIGN_TEST_FUZZ_SECONDS` changes the time; CONTRIBUTING.md has more.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test may fail, and say why")]
#![allow(unreachable_pub, reason = "the targets are shared with the fuzz crate")]

mod mutator;
mod run;
mod targets;

use std::{fs, path::Path, time::Duration};

use run::{Plan, Target, report, run, seeds};

/// A test for each target, and the list of them.
macro_rules! each_target {
    ($($name:ident),* $(,)?) => {
        const TARGETS: &[(&str, Target)] = &[$((stringify!($name), targets::$name)),*];

        mod no_input_breaks {
            $(#[test]
            fn $name() {
                super::fuzz(stringify!($name), super::targets::$name);
            })*
        }
    };
}

each_target![address, ed25519_signature, eip4361, evm_signature, typed_data];

fn fuzz(name: &str, target: Target) {
    let plan = Plan::from_env();
    match run(target, &seeds(name), &plan) {
        Ok(figures) => eprintln!("{name}: {figures:?}, seed {}", plan.seed),
        Err(finding) => panic!("{}", report(name, &finding, &plan)),
    }
}

#[test]
fn every_seed_reaches_what_its_target_looks_at() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(seeds.len() >= 3, "{name} has only {} seeds", seeds.len());
        let read = seeds.iter().filter(|seed| target(seed)).count();
        assert!(2 * read >= seeds.len(), "{name} reads only {read} of its {} seeds", seeds.len());
    }
}

#[test]
fn every_target_is_run_on_nightly_too() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml has no {name}");
        let target = fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(target.contains(&format!("targets::{name}(input)")), "{name} runs something else");
    }
    assert_eq!(fs::read_dir(folder.join("fuzz_targets")).unwrap().count(), TARGETS.len());
}

#[test]
fn a_target_that_breaks_is_reported_with_its_input_and_breaks_again() {
    let breaks: Target = |input| {
        assert_ne!(input.iter().filter(|byte| **byte == b'\n').count(), 3);
        true
    };
    let plan = Plan { time: Duration::from_secs(600), seed: 7, only: None };
    let finding = run(breaks, &[b"a\nb".to_vec()], &plan).unwrap_err();
    assert_eq!(run(breaks, &[b"a\nb".to_vec()], &plan).unwrap_err().0, finding.0, "one seed, one run");
    let told = report("eip4361", &finding, &plan);
    assert!(told.contains(&format!("COUNTERSIGN_TEST_FUZZ_INPUT={} ", hex::encode(&finding.0))), "{told}");
    let again = Plan { only: Some(finding.0), ..plan };
    run(breaks, &[], &again).unwrap_err();
}
