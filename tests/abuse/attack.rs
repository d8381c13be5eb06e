//! Parts that attacks share: the program under attack, the scale of an attack, its rate, and the memory that it costs.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use crate::{
    process::{Process, countersign, program},
    shared_keys::share_keys,
    support::TestStore,
};

/// Time after which an attack fails instead of hanging.
pub const GIVE_UP: Duration = Duration::from_mins(2);

/// True if whole attacks are asked for.
pub fn is_full() -> bool {
    std::env::var("COUNTERSIGN_TEST_ABUSE").is_ok_and(|value| value == "full")
}

/// Number of attempts: one tenth unless the full attack is requested.
pub fn scaled(attempts: usize) -> usize {
    if is_full() { attempts } else { attempts / 10 }
}

/// True if another program than the one just built is attacked; it may lack settings of this one.
pub fn is_another_program() -> bool {
    std::env::var("COUNTERSIGN_TEST_PROGRAM").is_ok()
}

/// The program under attack, with further flags.
pub fn start(store: &TestStore, flags: &[&str]) -> Process {
    share_keys(store);
    let flags = [&["--log", "info"], flags].concat();
    Process::start_as(under_attack(), store, &flags)
}

/// The program under attack: this one, unless another is named.
pub fn under_attack() -> Command {
    std::env::var("COUNTERSIGN_TEST_PROGRAM").map_or_else(|_| countersign(), |path| program(&path))
}

/// The rate of an attack, printed when it ends.
pub struct Attack {
    name: &'static str,
    began: Instant,
}

impl Attack {
    pub fn begin(name: &'static str) -> Self {
        Self { name, began: Instant::now() }
    }

    pub fn end(self, attempts: usize) {
        let seconds = self.began.elapsed().as_secs_f64();
        let rate = attempts as f64 / seconds;
        eprintln!("{}: {attempts} attempts in {seconds:.2} s, {rate:.0} a second", self.name);
    }
}

/// Resident memory of a process in KiB.
pub fn resident_kib(process: &Process) -> u64 {
    status_kib(process, "VmRSS")
}

/// An entry of the status of a process, in KiB.
pub fn status_kib(process: &Process, entry: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(&format!("{entry}:"))).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Waits until a process has given back the memory that an attack made it take: at most 64 MiB above what it had before,
/// within a minute.
pub async fn memory_returns(process: &Process, before: u64) {
    let began = Instant::now();
    loop {
        let above = resident_kib(process).saturating_sub(before);
        if above <= 64 * 1024 {
            eprintln!("{above} KiB above idle {:.1} s after the attack", began.elapsed().as_secs_f64());
            return;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{above} KiB above idle after a minute");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
