//! Returns freed memory to the system: after a load peak, or an attack, glibc keeps most of what was allocated.

use std::{future::Future, time::Duration};

/// Interval between checks of the resident memory.
const INTERVAL: Duration = Duration::from_secs(15);
/// Growth above the lowest resident memory seen that triggers a return; each one walks all arenas.
const GROWTH: u64 = 32 * 1024 * 1024;

/// Returns freed memory at intervals, while the process has grown, until `end`.
pub(super) async fn return_freed(end: impl Future<Output = ()>) {
    tokio::pin!(end);
    let mut least = resident();
    loop {
        tokio::select! {
            () = &mut end => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        if resident() > least.saturating_add(GROWTH) {
            let _ = tokio::task::spawn_blocking(trim).await;
            tracing::debug!(resident = resident(), "freed memory was returned to the system");
        }
        least = least.min(resident());
    }
}

/// Resident memory in bytes; 0 where the system does not say (proc(5), `/proc/pid/statm`).
fn resident() -> u64 {
    const PAGE: u64 = 4096;
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    let pages = pages.and_then(|statm| statm.split(' ').nth(1)?.parse::<u64>().ok());
    pages.unwrap_or_default() * PAGE
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "a C function without a safe binding")]
fn trim() {
    // SAFETY: malloc_trim(3) takes no pointer, locks each arena while it works on it, and frees only unused pages.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators return memory by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
const fn trim() {}
