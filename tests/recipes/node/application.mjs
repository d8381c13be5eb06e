// An application that signs wallets in: its two calls, and what holds for every signature.

import { Signature, toBeHex } from "ethers";

import { call, refused } from "./caller.mjs";

export const NOT_FOUND = ["NOT_FOUND", "CHALLENGE_NOT_FOUND"];
export const USED = ["FAILED_PRECONDITION", "CHALLENGE_ALREADY_USED"];
export const MISMATCH = ["UNAUTHENTICATED", "SIGNATURE_MISMATCH"];
export const POLICY_DENIED = ["PERMISSION_DENIED", "POLICY_DENIED"];
export const INVALID_ADDRESS = ["INVALID_ARGUMENT", "INVALID_ADDRESS"];
export const INVALID_MESSAGE = ["INVALID_ARGUMENT", "INVALID_MESSAGE"];
export const INVALID_NETWORK = ["INVALID_ARGUMENT", "INVALID_NETWORK"];
export const INVALID_REQUEST = ["INVALID_ARGUMENT", "INVALID_REQUEST"];
export const INVALID_SIGNATURE = ["INVALID_ARGUMENT", "INVALID_SIGNATURE_ENCODING"];

// The order of secp256k1 (SEC 2, section 2.4.1).
const ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

/** One client of Countersign, with its credentials. */
export class Application {
  #countersign;
  #another;

  constructor(countersign, clients, name, transcript) {
    this.#countersign = countersign;
    this.#another = clients.ratio;
    this.client = clients[name];
    this.transcript = transcript;
  }

  async start(request = {}) {
    const { challenges } = this.#countersign;
    const { challenge } = await call(challenges, "StartChallenge", request, this.client.authorization);
    return challenge;
  }

  startRefused(what, expected, request) {
    return this.#refused("StartChallenge", what, expected, request, this.client);
  }

  createSessionRefused(what, expected, request) {
    return this.#refused("CreateSession", what, expected, request, this.client, this.#countersign.sessions);
  }

  verify(request) {
    return call(this.#countersign.challenges, "VerifyChallenge", request, this.client.authorization);
  }

  refused(what, expected, request, client = this.client) {
    return this.#refused("VerifyChallenge", what, expected, request, client);
  }

  /** A good signature is of no use to another client, and of no use twice. */
  async verifyOnce(request) {
    await this.refused("another client", NOT_FOUND, request, this.#another);
    const answer = await this.verify(request);
    await this.refused("the same again", USED, request);
    return answer;
  }

  /** Signs in by a good signature of an EVM chain: bad ones are refused before it, and every one after it. */
  async redeemOnce({ signature, forged, ...named }) {
    const forms = formsOf(signature);
    const by = (form) => ({ ...named, signature: forms[form] });
    await this.refused("another wallet's signature", MISMATCH, { ...named, signature: forged });
    await this.refused("v changed", MISMATCH, by("v changed"));
    await this.refused("the high s", INVALID_SIGNATURE, by("the high s"));
    const answer = await this.verifyOnce({ ...named, signature });
    for (const form of ["65 bytes", "v of 0 or 1", "EIP-2098"]) {
      await this.refused(`spent, and again as ${form}`, USED, by(form));
    }
    return answer;
  }

  #refused(method, what, expected, request, { authorization }, service = this.#countersign.challenges) {
    return refused(
      this.#countersign,
      this.transcript,
      what,
      expected,
      service,
      method,
      request,
      authorization,
    );
  }
}

/** Every form of an EVM signature, by name; the last two are not of its signer's making. */
export function formsOf(signature) {
  const { r, s, yParity, serialized, compactSerialized } = Signature.from(signature);
  const v = (value) => toBeHex(value, 1).slice(2);
  const highS = toBeHex(ORDER - BigInt(s), 32).slice(2);
  return {
    "65 bytes": serialized,
    "v of 0 or 1": r + s.slice(2) + v(yParity),
    "EIP-2098": compactSerialized,
    "v changed": r + s.slice(2) + v(28 - yParity),
    "the high s": r + highS + v(28 - yParity),
  };
}
