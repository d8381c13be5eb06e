// Cedalio: a nonce for nobody in particular, signed behind a text of the application's own.
//
// StartChallenge NONCE (Basic, no address) -> VerifyChallenge with nonce, message, address and signature.

import { Wallet } from "ethers";

import {
  Application,
  INVALID_MESSAGE,
  INVALID_REQUEST,
  MISMATCH,
  NOT_FOUND,
  POLICY_DENIED,
} from "./application.mjs";

const MESSAGE = "Welcome to Cedalio!\n\nSign to enter your project.\n\nNonce: ";

export async function run(countersign, clients, transcript) {
  const cedalio = new Application(countersign, clients, "cedalio", transcript);
  const foreign = await new Application(countersign, clients, "bine_v2", transcript).start();
  const wallet = Wallet.createRandom();
  for (const [address, composed] of [
    [wallet.address, () => MESSAGE],
    [wallet.address.toLowerCase().slice(2), (nonce) => MESSAGE + nonce],
  ]) {
    const nonce = await newNonce(cedalio);
    await checkRefusals(cedalio, wallet, nonce, foreign.nonce);
    const signature = await wallet.signMessage(MESSAGE + nonce);
    const forged = await Wallet.createRandom().signMessage(MESSAGE + nonce);
    const request = { nonce, message: composed(nonce), address };
    const answer = await cedalio.redeemOnce({ ...request, signature, forged });
    await checkToken(countersign, cedalio, wallet, answer);
  }
}

async function newNonce(cedalio) {
  const challenge = await cedalio.start();
  const lasts = challenge.expire_time.seconds - challenge.create_time.seconds;
  cedalio.transcript.equal("two minutes to sign", lasts, 120);
  const said = [challenge.address, challenge.network, challenge.message];
  cedalio.transcript.equal("a nonce for nobody in particular", said, ["", "", ""]);
  return challenge.nonce;
}

async function checkRefusals(cedalio, wallet, nonce, foreign) {
  const sign = (text) => wallet.signMessage(text);
  const good = { nonce, message: MESSAGE, address: wallet.address, signature: await sign(MESSAGE + nonce) };
  const altered = MESSAGE.replace("enter", "sell");
  const other = await cedalio.start();
  for (const [what, expected, changes] of [
    ["a text of no policy", POLICY_DENIED, { message: altered, signature: await sign(altered + nonce) }],
    ["a newline less", POLICY_DENIED, { message: MESSAGE.replaceAll("\n\n", "\n") }],
    ["no text", INVALID_MESSAGE, { message: "" }],
    ["no account", INVALID_REQUEST, { address: "" }],
    ["another account", MISMATCH, { address: Wallet.createRandom().address }],
    ["signed without the nonce", MISMATCH, { signature: await sign(MESSAGE) }],
    ["under another nonce", MISMATCH, { nonce: other.nonce }],
    ["a nonce of another client", NOT_FOUND, { nonce: foreign, signature: await sign(MESSAGE + foreign) }],
  ]) {
    await cedalio.refused(what, expected, { ...good, ...changes });
  }
}

async function checkToken(countersign, { client, transcript }, wallet, { tokens }) {
  const { claims } = await countersign.verifyAccessToken(tokens.access_token, client.client_id);
  transcript.equal("the JWT carries the address", claims.address, wallet.address);
  transcript.equal("and lives 30 minutes", claims.exp - claims.iat, 1800);
}
