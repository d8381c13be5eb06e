// Only the exact answer of a contract is a yes, and only a contract can give one.

import { concat } from "viem";

import { INVALID_ADDRESS, INVALID_SIGNATURE, MISMATCH } from "./application.mjs";
import { newKey } from "./chain.mjs";
import { ContractWallet, RPC_UNAVAILABLE, Vault } from "./contract_wallet.mjs";

// What a contract is asked about has no set form: Safe, for one, writes v = 31 for a signature over a
// prefixed digest, which is no key's.
const ODD = {
  "three bytes": "0xc0ffee",
  "three bytes without 0x, in capitals": "C0FFEE",
  "v = 31": `0x${"11".repeat(64)}1f`,
  "16 KiB": `0x${"ab".repeat(16_384)}`,
};

// The chain whose only node is down.
const DOWN = "eip155:43114";

const CROOKED = {
  TrailingGarbageWallet: "the magic value, and garbage in its word",
  LongAnswerWallet: "64 bytes that begin with the magic value",
  HugeAnswerWallet: "a megabyte that begins with the magic value",
  ShortAnswerWallet: "the magic value's 4 bytes alone",
  RightAlignedWallet: "the magic value at the end of its word",
  EchoingWallet: "what it was asked, which begins with the magic value",
  TrueWallet: "`true`",
  SilentWallet: "nothing",
  RevertingWallet: "a revert",
  RevertingWithYesWallet: "a revert that says the magic value",
  EndlessWallet: "an endless loop",
  WritingWallet: "yes, but only by writing",
};

export async function run(countersign, clients, transcript, chains) {
  const vault = new Vault(countersign, clients, transcript);
  await willing(vault, chains[1]);
  for (const [name, what] of Object.entries(CROOKED)) await crooked(vault, chains[1], name, what);
  await withoutCode(vault, chains[1]);
  await reserved(vault, transcript);
}

/** The same signatures, and a contract that says yes as it should: nothing else refuses those below. */
async function willing(vault, chain) {
  const address = await chain.deploy("WillingWallet");
  const wallet = new ContractWallet(chain, address, [newKey()]);
  for (const [what, signature] of Object.entries(ODD)) {
    const { id } = await vault.text(address, chain.network);
    const answer = await vault.verify({ challenge_id: id, signature });
    await vault.checkContract(`a contract that accepts ${what}`, answer, wallet);
  }
  await vault.checkContract("a contract that accepts any key's", await vault.signIn(wallet), wallet);
  const { id } = await vault.text(address, chain.network);
  const tooLong = { challenge_id: id, signature: concat([ODD["16 KiB"], "0xab"]) };
  await vault.refused("a byte more than 16 KiB", INVALID_SIGNATURE, tooLong);
}

async function crooked(vault, chain, name, what) {
  const address = await chain.deploy(name);
  const { id, message } = await vault.text(address, chain.network);
  const signature = await newKey().signMessage({ message });
  const named = { challenge_id: id };
  await vault.refused(`attack 7: a contract that answers ${what}`, MISMATCH, { ...named, signature });
  await vault.refused("and so for odd bytes", MISMATCH, { ...named, signature: ODD["three bytes"] });
}

async function withoutCode(vault, chain) {
  const { id, message } = await vault.text(newKey().address, chain.network);
  const signature = await newKey().signMessage({ message });
  await vault.refused("attack 7: no code at the address", MISMATCH, { challenge_id: id, signature });
  const odd = { challenge_id: id, signature: ODD["three bytes"] };
  await vault.refused("attack 7: nor for odd bytes", MISMATCH, odd);
}

async function reserved(vault, transcript) {
  const zero = { format: "CHALLENGE_FORMAT_TEXT", address: addressOf(0n), network: DOWN };
  const got = await vault.startRefused("attack 7: the zero address", INVALID_ADDRESS, zero);
  transcript.equal("the violation names the field", got.fields, ["address"]);
  for (const address of [1n, 2n, 4n, 9n, 0x100n, 0xffffn].map(addressOf)) {
    await noWallet(vault, address, DOWN);
    await noWallet(vault, address, "eip155:1");
  }
  const { id, message } = await vault.text(addressOf(0x10000n), DOWN);
  const signature = await newKey().signMessage({ message });
  const request = { challenge_id: id, signature };
  await vault.refused("the first address that is not reserved is asked about", RPC_UNAVAILABLE, request);
}

/** Where the chain's node is down, the refusal means that no node was asked. */
async function noWallet(vault, address, network) {
  const { id, message } = await vault.text(address, network);
  const signature = await newKey().signMessage({ message });
  for (const [what, expected, bytes] of [
    ["a key's signature", MISMATCH, signature],
    ["r = s = 0", INVALID_SIGNATURE, `0x${"00".repeat(64)}1b`],
    ["odd bytes", INVALID_SIGNATURE, ODD["three bytes"]],
  ]) {
    const request = { challenge_id: id, signature: bytes };
    await vault.refused(`attack 7: ${address} as a wallet on ${network}, ${what}`, expected, request);
  }
}

function addressOf(number) {
  return `0x${number.toString(16).padStart(40, "0")}`;
}
