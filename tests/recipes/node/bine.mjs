// Bine: typed data in its first version, a text that the caller composes in its second.
//
// v1: StartChallenge TYPED_DATA (Basic) -> eth_signTypedData_v4 -> VerifyChallenge by nonce.
// v2: StartChallenge NONCE (Basic, no address) -> an EIP-4361 text -> VerifyChallenge with the text.

import { Wallet } from "ethers";

import {
  Application,
  INVALID_ADDRESS,
  INVALID_MESSAGE,
  MISMATCH,
  NOT_FOUND,
  POLICY_DENIED,
  formsOf,
} from "./application.mjs";

const DOMAIN = {
  name: "Bine",
  version: "1",
  chainId: 137,
  verifyingContract: "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
};

export async function runV1(countersign, clients, transcript) {
  const bine = new Application(countersign, clients, "bine_v1", transcript);
  const wallet = Wallet.createRandom();
  for (const form of ["65 bytes", "EIP-2098"]) {
    const data = await signData(bine, wallet);
    const nonce = String(data.message.noonce);
    await checkRefusalsV1(bine, wallet, data, nonce);
    const signature = formsOf(await typedSign(wallet, data))[form];
    const forged = await typedSign(Wallet.createRandom(), data);
    const { address } = wallet;
    const { verification } = await bine.redeemOnce({ address, nonce, signature, forged });
    const verified = [verification.address, verification.network];
    transcript.equal(`signed in with ${form}`, verified, [address, "eip155:137"]);
  }
}

async function signData(bine, wallet) {
  const { transcript } = bine;
  // Wallets sign typed data only while they are on the chain of its domain.
  const challenge = await bine.start({ address: wallet.address.toLowerCase(), network: "POLYGON" });
  const data = JSON.parse(challenge.typed_data_json);
  transcript.equal("no text beside the typed data", challenge.message, "");
  transcript.equal("what is signed", data.primaryType, "AuthMessage");
  transcript.equal("the domain of the policy", data.domain, DOMAIN);
  const message = { address: wallet.address, noonce: Number(challenge.nonce) };
  transcript.equal("address and noonce, a number", data.message, message);
  transcript.equal("that JavaScript reads exactly", String(message.noonce), challenge.nonce);
  return data;
}

async function checkRefusalsV1(bine, wallet, data, nonce) {
  const other = await signData(bine, wallet);
  for (const [part, name, value] of [
    ["domain", "name", "Evil"],
    ["domain", "chainId", 1],
    ["domain", "verifyingContract", wallet.address],
    ["message", "address", Wallet.createRandom().address],
    ["message", "noonce", other.message.noonce],
  ]) {
    const altered = { ...data, [part]: { ...data[part], [name]: value } };
    const signature = await typedSign(wallet, altered);
    await bine.refused(`signed with another ${part} ${name}`, MISMATCH, { nonce, signature });
  }
  const asText = await wallet.signMessage(JSON.stringify(data));
  await bine.refused("signed as a text", MISMATCH, { nonce, signature: asText });
  const signature = await typedSign(wallet, data);
  await bine.refused("under no nonce of ours", NOT_FOUND, { nonce: "1", signature });
  const { address } = Wallet.createRandom();
  await bine.refused("for another address", INVALID_ADDRESS, { nonce, address, signature });
}

/** ethers adds `EIP712Domain` by itself, and wants the other types alone. */
function typedSign(wallet, { domain, types: { EIP712Domain: _, ...types }, message }) {
  return wallet.signTypedData(domain, types, message);
}

export async function runV2(countersign, clients, transcript) {
  const bine = new Application(countersign, clients, "bine_v2", transcript);
  const foreign = await new Application(countersign, clients, "cedalio", transcript).start();
  const wallet = Wallet.createRandom();
  const { nonce } = await bine.start();
  await checkRefusalsV2(bine, wallet, nonce, foreign.nonce);
  const message = compose(wallet.address, nonce);
  const signature = await wallet.signMessage(message);
  const forged = await Wallet.createRandom().signMessage(message);
  const { verification, tokens } = await bine.redeemOnce({ message, signature, forged });
  const verified = [verification.address, verification.network];
  transcript.equal("address and chain are those of the text", verified, [wallet.address, "eip155:137"]);
  const { claims } = await countersign.verifyAccessToken(tokens.access_token, bine.client.client_id);
  transcript.equal("so are they in the token", [claims.address, claims.network], verified);
}

async function checkRefusalsV2(bine, wallet, nonce, foreign) {
  const text = compose(wallet.address, nonce);
  const other = await bine.start();
  const { address } = Wallet.createRandom();
  for (const [what, expected, message] of [
    ["another domain", POLICY_DENIED, text.replace("bine.example", "evil.example")],
    ["a port at the domain", POLICY_DENIED, text.replace("bine.example", "bine.example:1")],
    ["another URI", POLICY_DENIED, text.replace("/login", "/logout")],
    ["another statement", POLICY_DENIED, text.replace("Sign in to", "Sell")],
    ["a resource", POLICY_DENIED, `${text}\nResources:\n- https://bine.example/all`],
    ["another nonce", INVALID_MESSAGE, text.replace(nonce, other.nonce)],
    ["a nonce of another client", INVALID_MESSAGE, text.replace(nonce, foreign)],
    ["no checksum in the address", INVALID_MESSAGE, compose(wallet.address.toLowerCase(), nonce)],
    ["another version", INVALID_MESSAGE, text.replace("Version: 1", "Version: 2")],
    ["an end that is over", INVALID_MESSAGE, `${text}\nExpiration Time: 2026-01-01T00:00:00Z`],
    ["a newline at its end", INVALID_MESSAGE, `${text}\n`],
    ["another address", MISMATCH, compose(address, nonce)],
  ]) {
    const signature = await wallet.signMessage(message);
    await bine.refused(`a text with ${what}`, expected, { nonce, message, signature });
  }
  const later = text.replace("00:00.000Z", "00:01.000Z");
  const signature = await wallet.signMessage(text);
  await bine.refused("altered after signing", MISMATCH, { message: later, signature });
  const message = compose(wallet.address, foreign);
  const own = { message, signature: await wallet.signMessage(message) };
  await bine.refused("a nonce of another client, alone", NOT_FOUND, own);
}

/** EIP-4361, as an application puts it together. */
function compose(address, nonce) {
  return [
    "bine.example wants you to sign in with your Ethereum account:",
    address,
    "",
    "Sign in to Bine.",
    "",
    "URI: https://bine.example/login",
    "Version: 1",
    "Chain ID: 137",
    `Nonce: ${nonce}`,
    "Issued At: 2026-01-01T00:00:00.000Z",
  ].join("\n");
}
