//! Bytes of the operating system's generator.

/// `N` fresh bytes.
///
/// # Panics
/// If the operating system has no randomness to give; nothing can be issued then.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system's generator answers");
    bytes
}

/// A source of single bytes, drawn 64 at a time.
pub fn byte_source() -> impl FnMut() -> u8 {
    let mut pool = bytes::<64>();
    let mut used = 0;
    move || {
        if used == pool.len() {
            pool = bytes();
            used = 0;
        }
        used += 1;
        pool[used - 1]
    }
}
