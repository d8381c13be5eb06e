// A session waits for one wallet: a contract at its address is that wallet on the session's own chain alone.

import { INVALID_NETWORK, MISMATCH } from "./application.mjs";
import { call } from "./caller.mjs";
import { newKey } from "./chain.mjs";
import { ContractWallet, Vault, deployTwins } from "./contract_wallet.mjs";
import { FORMATS } from "./formats.mjs";

const REFUSED = {
  TEXT: MISMATCH,
  SIWX: MISMATCH,
  // The device's own nonce is for the session's wallet, and the request names another network.
  "NONCE and a listed text": INVALID_NETWORK,
  "NONCE and an EIP-4361 text": MISMATCH,
};

export async function run(countersign, clients, transcript, chains) {
  const vault = new Vault(countersign, clients, transcript);
  const [here, there] = await deployTwins(chains);
  const device = await Device.of(countersign, vault, here);
  for (const [format, expected] of Object.entries(REFUSED)) {
    const signed = await FORMATS[format](device, there);
    const what = `attack 28: a session of chain 1, and the contract at its address on chain 10, ${format}`;
    await vault.refused(what, expected, signed, device);
    transcript.equal("attack 28: it still waits", await device.state(), "SESSION_STATE_PENDING");
    // The signature is good: the same contract may start a session of its own.
    const own = await vault.verify(await FORMATS[format](vault, there));
    transcript.holds("attack 28: another session is that contract's", own.session.id !== device.sessionId);
  }
  const signed = await FORMATS.SIWX(device, here);
  const answer = await device.verify(signed);
  transcript.equal("its own contract activates it", answer.session.id, device.sessionId);
  await vault.checkContract("by the device's session token", answer, here);
  await plainAccount(countersign, vault, chains);
}

/** A plain account is one wallet on every chain, so its session may be activated on another. */
async function plainAccount(countersign, vault, chains) {
  const key = newKey();
  const [here, there] = [chains[1], chains[10]].map((chain) => new ContractWallet(chain, key.address, [key]));
  const device = await Device.of(countersign, vault, here);
  const { session } = await device.verify(await FORMATS.SIWX(device, there));
  vault.transcript.equal("a plain account activates it from any chain", session.id, device.sessionId);
}

/** What holds a session's token, and no secret of the client's. */
class Device {
  #countersign;

  static async of(countersign, vault, { address, network }) {
    const request = { signing_address: address, signing_network: network };
    const { authorization } = vault.client;
    const created = await call(countersign.sessions, "CreateSession", request, authorization);
    return new Device(countersign, created);
  }

  constructor(countersign, { session, session_token: token }) {
    this.#countersign = countersign;
    this.sessionId = session.id;
    this.authorization = `Bearer ${token}`;
  }

  async start(request) {
    const { challenges } = this.#countersign;
    return (await call(challenges, "StartChallenge", request, this.authorization)).challenge;
  }

  verify(request) {
    return call(this.#countersign.challenges, "VerifyChallenge", request, this.authorization);
  }

  async state() {
    const request = { session_id: this.sessionId };
    return (await call(this.#countersign.sessions, "GetSession", request, this.authorization)).session.state;
  }
}
