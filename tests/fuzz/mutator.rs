//! Inputs near the seeds: their bytes changed here and there, cut, doubled and put together anew.

/// A stream of numbers that a seed determines (SplitMix64, Steele et al. 2014).
pub struct Numbers(u64);

impl Numbers {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 where there is none.
    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }
}

/// Longer inputs say nothing new, and take longer.
const LONGEST: usize = 8 * 1024;

/// What readers look for, and what they trip over.
const PIECES: &[&[u8]] = &[
    b"\n",
    b"\n\n",
    b"\r\n",
    b"\0",
    b" ",
    b": ",
    b"://",
    b"@",
    b"%",
    b"%41",
    b"[::1]",
    b"- a:b",
    b"0x",
    b"0X",
    b"+",
    b"-",
    b"0",
    b"1",
    b"00",
    b"9007199254740991",
    b"9007199254740992",
    b"18446744073709551616",
    b"1e3",
    b"\"",
    b"\\u0000",
    b"{",
    b"}",
    b"[]",
    b"null",
    b",",
    b"URI: ",
    b"Version: 1",
    b"Chain ID: ",
    b"Nonce: ",
    b"Issued At: ",
    b"Expiration Time: ",
    b"Not Before: ",
    b"Request ID: ",
    b"Resources:",
    b"mainnet",
    b"solana:",
    b"eip155:",
    b"2026-02-29T23:59:60Z",
    b"+23:59",
    b".999999999",
    b"\xc3\xa9",
    b"\xd0\xb5",
    b"\xe2\x80\xae",
    b"\xff",
    b" wants you to sign in with your Ethereum account:",
    b" wants you to sign in with your Solana account:",
];

/// Between one and eight changes to one of the seeds.
pub fn mutated(seeds: &[Vec<u8>], numbers: &mut Numbers) -> Vec<u8> {
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    let mut input = numbers.pick(&seeds).to_vec();
    for _ in 0..1 << numbers.below(4) {
        change(&mut input, &seeds, numbers);
    }
    input.truncate(LONGEST);
    input
}

fn change(input: &mut Vec<u8>, seeds: &[&[u8]], numbers: &mut Numbers) {
    let at = numbers.below(input.len());
    let end = (at + 1 + numbers.below(32)).min(input.len());
    match numbers.below(10) {
        0 if !input.is_empty() => input[at] ^= 1 << numbers.below(8),
        1 if !input.is_empty() => input[at] = numbers.next().to_le_bytes()[0],
        2 if !input.is_empty() => input[at] = input[numbers.below(input.len())],
        3 => drop(input.drain(at..end)),
        4 => input.extend_from_within(at..end),
        5 => insert(input, at, &numbers.next().to_le_bytes()[..1 + numbers.below(8)]),
        6 => drop(input.splice(at..end, numbers.pick(PIECES).to_vec())),
        7 => swap_lines(input, numbers),
        8 => cross(input, at, numbers.pick(seeds), numbers),
        _ => insert(input, at, numbers.pick(PIECES)),
    }
}

fn insert(input: &mut Vec<u8>, at: usize, piece: &[u8]) {
    input.splice(at..at, piece.to_vec());
}

fn swap_lines(input: &mut Vec<u8>, numbers: &mut Numbers) {
    let mut lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
    let (one, other) = (numbers.below(lines.len()), numbers.below(lines.len()));
    lines.swap(one, other);
    *input = lines.join(&b'\n');
}

/// The beginning of one input and the end of another.
fn cross(input: &mut Vec<u8>, at: usize, other: &[u8], numbers: &mut Numbers) {
    input.truncate(at);
    input.extend_from_slice(&other[numbers.below(other.len())..]);
}
