//! The target `ed25519_signature` under libFuzzer.
#![no_main]

#[path = "../../tests/fuzz/targets.rs"]
#[allow(dead_code, reason = "each target is a program of its own")]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    targets::ed25519_signature(input);
});
