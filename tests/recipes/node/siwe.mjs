// Sign-In with Ethereum: the server writes the EIP-4361 text out of the policy, the wallet signs it.
//
// StartChallenge SIWX (Basic) -> VerifyChallenge by id.

import { Wallet } from "ethers";

import {
  Application,
  INVALID_ADDRESS,
  INVALID_MESSAGE,
  INVALID_REQUEST,
  MISMATCH,
  NOT_FOUND,
  POLICY_DENIED,
} from "./application.mjs";

export async function run(countersign, clients, transcript) {
  const siwe = new Application(countersign, clients, "siwe", transcript);
  const wallet = Wallet.createRandom();
  await onlyWhatIsListed(siwe, wallet);

  const usual = await siwe.start({ address: wallet.address.toLowerCase() });
  const expected = text("shop.example", wallet, 1, usual);
  transcript.equal("the text, out of the policy's first entries", usual.message, expected);
  const first = await signIn(siwe, wallet, usual);

  const asked = await siwe.start({
    address: wallet.address,
    network: "POLYGON",
    domain: "shop.example:8443",
    resources: ["https://shop.example/cart"],
    request_id: "order-7",
  });
  const more = "\nRequest ID: order-7\nResources:\n- https://shop.example/cart";
  const whole = text("shop.example:8443", wallet, 137, asked) + more;
  transcript.equal("the text, as it was asked for", asked.message, whole);
  const second = await signIn(siwe, wallet, asked);
  transcript.equal("of that chain", second.verification.network, "eip155:137");
  transcript.equal("the account is one on every chain", second.account.id, first.account.id);
}

async function onlyWhatIsListed(siwe, { address }) {
  for (const asked of [
    { domain: "evil.example" },
    { uri: "https://evil.example/login" },
    { statement: "I give everything away." },
    { resources: ["https://evil.example/cart"] },
  ]) {
    const what = `a text with another ${Object.keys(asked)[0]}`;
    await siwe.startRefused(what, POLICY_DENIED, { address, ...asked });
  }
  await siwe.startRefused("a text for nobody", INVALID_ADDRESS, {});
}

async function signIn(siwe, wallet, { id, message }) {
  const named = { challenge_id: id };
  const signature = await wallet.signMessage(message);
  const altered = message.replace("accept the terms", "take the debts");
  const own = await wallet.signMessage(altered);
  const other = await siwe.start({ address: wallet.address });
  const stranger = Wallet.createRandom();
  for (const [what, expected, request] of [
    ["signed an altered text", MISMATCH, { ...named, signature: own }],
    ["and sent it", INVALID_MESSAGE, { ...named, signature: own, message: altered }],
    ["another address", INVALID_ADDRESS, { ...named, signature, address: stranger.address }],
    ["another challenge", MISMATCH, { challenge_id: other.id, signature }],
    ["another nonce", INVALID_REQUEST, { ...named, nonce: other.nonce, signature }],
    ["a nonce of nobody", NOT_FOUND, { nonce: "A".repeat(22), signature }],
  ]) {
    await siwe.refused(what, expected, request);
  }
  const forged = await stranger.signMessage(message);
  return siwe.redeemOnce({ ...named, message, signature, forged });
}

/** EIP-4361, word for word; the two times are those of the challenge. */
function text(domain, wallet, chain, { nonce, create_time: created, expire_time: expires }) {
  return [
    `${domain} wants you to sign in with your Ethereum account:`,
    wallet.address,
    "",
    "I accept the terms of the shop.",
    "",
    "URI: https://shop.example/login",
    "Version: 1",
    `Chain ID: ${chain}`,
    `Nonce: ${nonce}`,
    `Issued At: ${rfc3339(created)}`,
    `Expiration Time: ${rfc3339(expires)}`,
  ].join("\n");
}

function rfc3339({ seconds }) {
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
}
