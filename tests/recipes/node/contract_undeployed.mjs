// Contract wallets that are not deployed yet (ERC-6492): the signature brings the means, in simulation alone.

import { encodeFunctionData, getContractAddress, keccak256, concat, encodeAbiParameters, toHex } from "viem";
import { serializeErc6492Signature } from "viem/utils";

import { MISMATCH } from "./application.mjs";
import { newKey } from "./chain.mjs";
import { ContractWallet, Vault } from "./contract_wallet.mjs";
import { FORMATS } from "./formats.mjs";

const UNDEPLOYED = "VERIFICATION_METHOD_ERC6492";

export async function run(countersign, clients, transcript, chains) {
  const vault = new Vault(countersign, clients, transcript);
  const chain = chains[1];
  const factory = await chain.deploy("WalletFactory");
  await inEveryFormat(vault, undeployed(chain, factory));
  await refusedMeans(vault, chain, factory);
  await thenDeployed(vault, chain, factory);
  await neverCalled(vault, chain);
}

/** A wallet of a fresh key, at the address where the factory will deploy it. */
function undeployed(chain, factory) {
  const owner = newKey();
  const salt = toHex(1n, { size: 32 });
  const { abi, bytecode } = chain.contracts.OwnerWallet;
  const code = concat([bytecode, encodeAbiParameters(abi[0].inputs, [owner.address])]);
  const address = getContractAddress({ opcode: "CREATE2", from: factory, salt, bytecodeHash: keccak256(code) });
  const means = [owner.address, salt];
  const deploy = encodeFunctionData({ abi: chain.contracts.WalletFactory.abi, functionName: "deploy", args: means });
  return new WrappingWallet(new ContractWallet(chain, address, [owner]), factory, deploy);
}

/** A wallet whose signatures carry a factory, and what it is to be called with. */
class WrappingWallet {
  constructor(wallet, factory, data) {
    this.wallet = wallet;
    this.chain = wallet.chain;
    this.network = wallet.network;
    this.address = wallet.address;
    this.means = { address: factory, data };
  }

  async signText(text) {
    return this.#wrap(await this.wallet.signText(text));
  }

  async signTypedData(data) {
    return this.#wrap(await this.wallet.signTypedData(data));
  }

  compose(fields) {
    return this.wallet.compose(fields);
  }

  #wrap(signature) {
    return serializeErc6492Signature({ ...this.means, signature });
  }
}

async function inEveryFormat(vault, wallet) {
  const { transcript } = vault;
  for (const [format, challenge] of Object.entries(FORMATS)) {
    const request = await challenge(vault, wallet);
    const answer = await vault.verifyOnce(request);
    await vault.checkContract(`${format}, not deployed yet`, answer, wallet, UNDEPLOYED);
  }
  const { address, chain } = wallet;
  const message = "What does viem say?";
  const signature = await wallet.signText(message);
  transcript.holds("viem accepts it, too", await chain.node.verifyMessage({ address, message, signature }));
  transcript.equal("attack 9: simulated only, no code is there now", await chain.hasCode(address), false);
}

async function refusedMeans(vault, chain, factory) {
  const { wallet, means } = undeployed(chain, factory);
  const stranger = new ContractWallet(chain, wallet.address, [newKey()]);
  for (const [what, signer, at, data] of [
    ["another key's signature", stranger, factory, means.data],
    ["attack 9: a factory that never ends", wallet, await chain.deploy("EndlessFactory"), "0x"],
    ["attack 9: a factory that does something else", wallet, await chain.deploy("IdleFactory"), "0x"],
    ["attack 9: a factory that deploys elsewhere", wallet, await chain.deploy("StrayFactory"), "0x"],
    ["attack 9: a factory that reverts", wallet, await chain.deploy("RevertingFactory"), "0x"],
    ["attack 9: a factory without code", wallet, newKey().address, means.data],
    ["attack 9: the reserved address 4 as the factory", wallet, `0x${"4".padStart(40, "0")}`, means.data],
    ["attack 9: the wallet as its own factory", wallet, wallet.address, means.data],
    ["the deployment of another wallet", wallet, factory, undeployed(chain, factory).means.data],
  ]) {
    await refusedAs(vault, what, new WrappingWallet(signer, at, data));
  }
  await refusedAs(vault, "not wrapped, no code", wallet);
  await malformed(vault, wallet);
  const own = new WrappingWallet(wallet, factory, means.data);
  await vault.checkContract("by its own means it signs in", await vault.signIn(own), own, UNDEPLOYED);
}

async function refusedAs(vault, what, wallet) {
  const { id, message } = await vault.text(wallet.address, wallet.network);
  const request = { challenge_id: id, signature: await wallet.signText(message) };
  return vault.refused(what, MISMATCH, request);
}

/** What ends like a wrapped signature, and cannot be unwrapped. */
async function malformed(vault, wallet) {
  const { id } = await vault.text(wallet.address, wallet.network);
  const suffix = `0x${"6492".repeat(16)}`;
  for (const [what, body] of [
    ["no content", "0x"],
    ["offsets that lead outside", `0x${"ff".repeat(96)}`],
  ]) {
    const request = { challenge_id: id, signature: concat([body, suffix]) };
    await vault.refused(`attack 9: wrapped, ${what}`, MISMATCH, request);
  }
}

/** Deployed, it is the same wallet, and its means are no longer used. */
async function thenDeployed(vault, chain, factory) {
  const wallet = undeployed(chain, factory);
  const before = await vault.signIn(wallet);
  await vault.checkContract("before it is deployed", before, wallet, UNDEPLOYED);
  await chain.send({ to: factory, data: wallet.means.data });
  const after = await vault.signIn(wallet);
  await vault.checkContract("wrapped, and deployed by now", after, wallet);
  vault.transcript.equal("it is the account that it was", after.account.id, before.account.id);
  const plain = await vault.signIn(wallet.wallet);
  await vault.checkContract("not wrapped any more", plain, wallet);
}

/** A factory is never called for a wallet that has code: the call could make the wallet say yes. */
async function neverCalled(vault, chain) {
  const owner = newKey();
  const endless = await chain.deploy("EndlessFactory");
  const deployed = new ContractWallet(chain, await chain.deploy("OwnerWallet", [owner.address]), [owner]);
  const wrapped = new WrappingWallet(deployed, endless, "0x");
  await vault.checkContract("attack 9: an endless factory is not called", await vault.signIn(wrapped), wrapped);

  const address = await chain.deploy("AdoptableWallet");
  const thief = newKey();
  const { abi } = chain.contracts.AdoptableWallet;
  const adopt = encodeFunctionData({ abi, functionName: "adopt", args: [thief.address] });
  const stolen = new ContractWallet(chain, address, [thief]);
  await refusedAs(vault, "attack 9: a call that makes the wallet the thief's", new WrappingWallet(stolen, address, adopt));
  await chain.send({ to: address, data: adopt });
  await vault.checkContract("once the call is made on the chain, it signs in", await vault.signIn(stolen), stolen);
}
