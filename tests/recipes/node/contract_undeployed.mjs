// Contract wallets that are not deployed yet sign in (ERC-6492), and nothing that a factory does can cheat.

import { concat, encodeFunctionData } from "viem";

import { INVALID_SIGNATURE, MISMATCH } from "./application.mjs";
import { newKey } from "./chain.mjs";
import { ContractWallet, Vault } from "./contract_wallet.mjs";
import { FORMATS } from "./formats.mjs";
import { WrappingWallet, undeployed } from "./undeployed_wallet.mjs";

const UNDEPLOYED = "VERIFICATION_METHOD_ERC6492";
const SUFFIX = `0x${"6492".repeat(16)}`;

export async function run(countersign, clients, transcript, chains) {
  const vault = new Vault(countersign, clients, transcript);
  const chain = chains[1];
  const factory = await chain.deploy("WalletFactory");
  await inEveryFormat(vault, undeployed(chain, factory));
  await otherMeans(vault, chain, factory);
  await malformed(vault, undeployed(chain, factory));
  await onceDeployed(vault, chain, factory);
  await neverCalled(vault, chain);
  await neverCalledToTakeOver(vault, chain);
}

async function inEveryFormat(vault, wallet) {
  for (const [format, challenge] of Object.entries(FORMATS)) {
    const answer = await vault.verifyOnce(await challenge(vault, wallet));
    await vault.checkContract(`${format}, not deployed yet`, answer, wallet, UNDEPLOYED);
  }
  const { address, chain } = wallet;
  const message = "What does viem say?";
  const signature = await wallet.signText(message);
  const accepted = await chain.node.verifyMessage({ address, message, signature });
  vault.transcript.holds("viem has the contract accept it", accepted);
  const code = await chain.hasCode(address);
  vault.transcript.equal("attack 9: it was simulated, and no code is there now", code, false);
}

async function otherMeans(vault, chain, factory) {
  const own = undeployed(chain, factory);
  const { wallet, address, means } = own;
  const stranger = new ContractWallet(chain, address, [newKey()]);
  await refused(vault, "another key's signature", new WrappingWallet(stranger, factory, means.data));
  await refused(vault, "not wrapped, and no code", wallet);
  for (const [what, by, data] of [
    ["a factory that never ends", await chain.deploy("EndlessFactory"), "0x"],
    ["a factory that does something else", await chain.deploy("IdleFactory"), "0x"],
    ["a factory that deploys elsewhere", await chain.deploy("StrayFactory"), "0x"],
    ["a factory that reverts", await chain.deploy("RevertingFactory"), "0x"],
    ["a factory without code", newKey().address, means.data],
    ["the reserved address 4 as the factory", `0x${"4".padStart(40, "0")}`, means.data],
    ["the wallet as its own factory", address, means.data],
    ["a factory that deploys another wallet", factory, undeployed(chain, factory).means.data],
  ]) {
    await refused(vault, `attack 9: ${what}`, new WrappingWallet(wallet, by, data));
  }
  await vault.checkContract("by its own means it signs in", await vault.signIn(own), own, UNDEPLOYED);
}

async function refused(vault, what, wallet) {
  const { id, message } = await vault.text(wallet.address, wallet.network);
  const request = { challenge_id: id, signature: await wallet.signText(message) };
  await vault.refused(what, MISMATCH, request);
}

/** What ends like a wrapped signature and cannot be unwrapped is nothing that a contract is asked about. */
async function malformed(vault, { address, network }) {
  const { id } = await vault.text(address, network);
  for (const [what, body] of [
    ["no content", "0x"],
    ["offsets that lead outside", `0x${"ff".repeat(96)}`],
  ]) {
    const request = { challenge_id: id, signature: concat([body, SUFFIX]) };
    await vault.refused(`attack 9: wrapped, ${what}`, INVALID_SIGNATURE, request);
  }
}

async function onceDeployed(vault, chain, factory) {
  const wallet = undeployed(chain, factory);
  const before = await vault.signIn(wallet);
  await vault.checkContract("before it is deployed", before, wallet, UNDEPLOYED);
  await chain.send({ to: factory, data: wallet.means.data });
  const after = await vault.signIn(wallet);
  await vault.checkContract("wrapped, and deployed by now", after, wallet);
  vault.transcript.equal("it is the account that it was", after.account.id, before.account.id);
  await vault.checkContract("not wrapped any more", await vault.signIn(wallet.wallet), wallet);
}

async function neverCalled(vault, chain) {
  const owner = newKey();
  const wallet = new ContractWallet(chain, await chain.deploy("OwnerWallet", [owner.address]), [owner]);
  const wrapped = new WrappingWallet(wallet, await chain.deploy("EndlessFactory"), "0x");
  const what = "attack 9: a factory is not called for a wallet that has code";
  await vault.checkContract(what, await vault.signIn(wrapped), wrapped);
}

/** Were the call made, the wallet would be the thief's, and say yes. */
async function neverCalledToTakeOver(vault, chain) {
  const thief = newKey();
  const stolen = new ContractWallet(chain, await chain.deploy("AdoptableWallet"), [thief]);
  const { abi } = chain.contracts.AdoptableWallet;
  const data = encodeFunctionData({ abi, functionName: "adopt", args: [thief.address] });
  const what = "attack 9: a call that would make the wallet the thief's";
  await refused(vault, what, new WrappingWallet(stolen, stolen.address, data));
  await chain.send({ to: stolen.address, data });
  await vault.checkContract("made on the chain, it does so", await vault.signIn(stolen), stolen);
}
