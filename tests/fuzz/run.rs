//! Runs a target on its seeds and on inputs near them, for a bounded time, and tells how to repeat a failure.

use std::{
    env, fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::mutator::{Numbers, mutated};

/// Panics where something does not hold for an input; tells whether it could read it.
pub type Target = fn(&[u8]) -> bool;

/// What a run comes to.
#[derive(Debug)]
pub struct Figures {
    pub executions: u64,
    /// Of these, the inputs that could be read.
    pub read: u64,
}

/// An input for which something did not hold.
#[derive(Debug)]
pub struct Finding(pub Vec<u8>);

/// How long a run takes, from which seed, or the one input that it repeats.
pub struct Plan {
    pub time: Duration,
    pub seed: u64,
    pub only: Option<Vec<u8>>,
}

impl Plan {
    /// 5 seconds from a new seed, unless the environment says otherwise.
    pub fn from_env() -> Self {
        let given = |name| env::var(format!("COUNTERSIGN_TEST_FUZZ_{name}")).ok();
        let number =
            |name| given(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name}: no number")));
        Self {
            time: Duration::from_secs(number("SECONDS").unwrap_or(5)),
            seed: number("SEED").unwrap_or_else(|| getrandom::u64().unwrap()),
            only: given("INPUT").map(|digits| hex::decode(digits).expect("INPUT: no hex")),
        }
    }
}

/// The folder of a target's seeds; `cargo fuzz` adds what it finds.
pub fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name)
}

/// The seeds in the order of their names, so that one seed number always means the same inputs.
pub fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = fs::read_dir(corpus(name)).unwrap_or_else(|why| panic!("no seeds for {name}: {why}"));
    let mut files: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Runs the seeds as they are, then inputs near them until the time is over.
pub fn run(target: Target, seeds: &[Vec<u8>], plan: &Plan) -> Result<Figures, Finding> {
    let mut figures = Figures { executions: 0, read: 0 };
    let mut run_one = |input: Vec<u8>| {
        let read = catch_unwind(|| target(&input)).map_err(|_| Finding(input))?;
        figures.executions += 1;
        figures.read += u64::from(read);
        Ok(())
    };
    if let Some(only) = &plan.only {
        run_one(only.clone())?;
        return Ok(figures);
    }
    let (end, mut numbers) = (Instant::now() + plan.time, Numbers::new(plan.seed));
    seeds.iter().cloned().try_for_each(&mut run_one)?;
    while Instant::now() < end {
        run_one(mutated(seeds, &mut numbers))?;
    }
    Ok(figures)
}

/// What to do about a finding.
pub fn report(name: &str, finding: &Finding, plan: &Plan) -> String {
    let input = hex::encode(&finding.0);
    format!(
        "{name}: something does not hold for the input {input}\n\
         again: COUNTERSIGN_TEST_FUZZ_INPUT={input} cargo test --test fuzz no_input_breaks::{name}\n\
         the whole run: COUNTERSIGN_TEST_FUZZ_SEED={} in its place",
        plan.seed
    )
}
