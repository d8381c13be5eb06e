//! What native verification costs beside libsecp256k1's bare recovery: `cargo bench --bench native_verification`.
//!
//! A is what the service does with a signature: read its text, hash the message, recover, compare the address. B is
//! the library's recovery alone. Both run in turns, call by call, over the same signatures, so that whatever else the
//! machine does meanwhile slows both; a call that is interrupted is one of many, and moves no median. The ratio of the
//! medians should be at most 1.15; it is printed, and fails nothing.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement prints, and may fail")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use countersign::{
    domain::{ChainAddress, Network},
    wallet::{
        Payload, SignedMessage,
        evm::{EvmPrivateKey, eip191},
        parse_address,
    },
};
use secp256k1::{
    Message,
    ecdsa::{RecoverableSignature, RecoveryId},
};

const CALLS: usize = 20_000;
const SIGNATURES: u8 = 50;
const AT_MOST: f64 = 1.15;

/// What a request brings, and the same as the library takes it.
struct Case {
    message: SignedMessage,
    text: String,
    signature: RecoverableSignature,
    digest: Message,
}

fn main() {
    let cases: Vec<Case> = (1..=SIGNATURES).map(case).collect();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for case in cases.iter().cycle().take(CALLS) {
        ours.push(time(|| assert!(is_signed_by_its_claimant(case))));
        bare.push(time(|| recover(case)));
    }
    // The first tenth warms up.
    let (ours, bare) = (median(&ours[CALLS / 10..]), median(&bare[CALLS / 10..]));
    let ratio = ours.as_secs_f64() / bare.as_secs_f64();
    let verdict = if ratio <= AT_MOST { "within" } else { "ABOVE" };
    println!("native verification: {:8.2} us, the median of {CALLS} calls", microseconds(ours));
    println!("bare recovery:       {:8.2} us", microseconds(bare));
    println!("ratio:               {ratio:8.3}, {verdict} {AT_MOST}");
}

fn case(number: u8) -> Case {
    let signer = EvmPrivateKey::generate(|| [number; 32]);
    let message = format!(
        "You’re now signing into Brine Testnet, make sure the origin is https://brine.example \
         (Login-code:{number:022})"
    );
    let text = signer.sign_text(&message);
    // As a request has it, and as it is parsed on arrival.
    let network = Network::ethereum();
    let address = parse_address("address", signer.address().as_str(), &network).unwrap();
    let bytes: [u8; 65] = hex::decode(&text[2..]).unwrap().try_into().unwrap();
    let parity = if bytes[64] == 28 { RecoveryId::One } else { RecoveryId::Zero };
    let signature = RecoverableSignature::from_compact(bytes.first_chunk::<64>().unwrap(), parity).unwrap();
    let digest = Message::from_digest(eip191::digest(&message));
    let claimed = ChainAddress { address, network };
    Case { message: SignedMessage { claimed, payload: Payload::Text(message) }, text, signature, digest }
}

fn is_signed_by_its_claimant(case: &Case) -> bool {
    let Case { message, text, .. } = black_box(case);
    message.verified_by_key(text).unwrap().is_some()
}

fn recover(case: &Case) {
    black_box(black_box(&case.signature).recover(black_box(case.digest)).unwrap());
}

fn time(call: impl FnOnce()) -> Duration {
    let start = Instant::now();
    call();
    start.elapsed()
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[times.len() / 2]
}

fn microseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
