// A Solana wallet: Ed25519 over the text itself, in the formats of the two applications that fit it.
//
// StartChallenge SIWX (Basic) -> VerifyChallenge by id; StartChallenge NONCE -> VerifyChallenge by nonce.

import { generateKeyPairSync, sign } from "node:crypto";

import { encodeBase58 } from "ethers";

import { Application, INVALID_NETWORK, INVALID_SIGNATURE, MISMATCH } from "./application.mjs";

const MAIN_NET = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp";
const MESSAGE = "Welcome to Cedalio!\n\nSign to enter your project.\n\nNonce: ";

/** A wallet as Solana's are: its address is its public key. */
class SolanaWallet {
  #key;

  constructor() {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    this.#key = privateKey;
    this.address = encodeBase58(Buffer.from(publicKey.export({ format: "jwk" }).x, "base64url"));
  }

  /** The 64 bytes of a signature. */
  sign(text) {
    return sign(null, Buffer.from(text, "utf8"), this.#key);
  }
}

export async function run(countersign, clients, transcript) {
  const wallet = new SolanaWallet();
  const siwe = new Application(countersign, clients, "siwe", transcript);
  await signInText(siwe, wallet);

  const cedalio = new Application(countersign, clients, "cedalio", transcript);
  const { nonce } = await cedalio.start();
  const named = { nonce, message: MESSAGE, address: wallet.address };
  await redeemOnce(cedalio, wallet, named, MESSAGE + nonce);

  const bine = new Application(countersign, clients, "bine_v1", transcript);
  const request = { address: wallet.address, network: "SOLANA" };
  await bine.startRefused("typed data, which Solana has not", INVALID_NETWORK, request);
}

async function signInText(siwe, wallet) {
  const { id, message } = await siwe.start({ address: wallet.address, network: "SOLANA" });
  const [first, second] = message.split("\n");
  const heading = "shop.example wants you to sign in with your Solana account:";
  siwe.transcript.equal("the text, in Solana's form", [first, second], [heading, wallet.address]);
  await redeemOnce(siwe, wallet, { challenge_id: id }, message);
}

async function redeemOnce(application, wallet, named, text) {
  const good = wallet.sign(text);
  const bent = Buffer.from(good);
  bent[0] ^= 1;
  for (const [what, expected, signature] of [
    ["another wallet's signature", MISMATCH, new SolanaWallet().sign(text)],
    ["an altered text", MISMATCH, wallet.sign(`${text} `)],
    ["a bent signature", MISMATCH, bent],
    ["63 bytes", INVALID_SIGNATURE, good.subarray(1)],
  ]) {
    await application.refused(what, expected, { ...named, signature: signature.toString("hex") });
  }
  const request = { ...named, signature: encodeBase58(good) };
  const { verification } = await application.verifyOnce(request);
  const verified = { method: "VERIFICATION_METHOD_ED25519", address: wallet.address, network: MAIN_NET };
  application.transcript.equal("verified as", { ...verification }, verified);
}
