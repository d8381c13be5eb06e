// One EVM chain of the tests: contracts are put on its node, and the node is asked what became of them.

import { createWalletClient, defineChain, getAddress, http, publicActions, toHex } from "viem";
import { generatePrivateKey, privateKeyToAccount } from "viem/accounts";

import { compile } from "./compiler.mjs";

const FUNDS = 10n ** 20n;

/** The chains that have a node, by chain id. */
export function chainsOf(setup) {
  const contracts = compile(setup.contracts);
  const open = ([id, url]) => [id, new Chain(Number(id), url, contracts)];
  return Object.fromEntries(Object.entries(setup.nodes).map(open));
}

class Chain {
  #deployer = newKey();

  constructor(id, url, contracts) {
    this.contracts = contracts;
    this.network = `eip155:${id}`;
    const nativeCurrency = { name: "Ether", symbol: "ETH", decimals: 18 };
    const rpcUrls = { default: { http: [url] } };
    const chain = defineChain({ id, name: this.network, nativeCurrency, rpcUrls });
    this.node = createWalletClient({ chain, transport: http(), pollingInterval: 50 }).extend(publicActions);
  }

  /** Deploys a contract; its address follows from the deployer's, and from what that has sent before. */
  async deploy(name, args = [], deployer = this.#deployer) {
    const { abi, bytecode } = this.contracts[name];
    const account = await this.#funded(deployer);
    const hash = await this.node.deployContract({ account, abi, bytecode, args });
    const { contractAddress } = await this.#mined(hash);
    if (!(await this.hasCode(contractAddress))) throw new Error(`${name} was not deployed`);
    return getAddress(contractAddress);
  }

  /** Sends a transaction, and waits until it is in a block. */
  async send(transaction) {
    const account = await this.#funded(this.#deployer);
    await this.#mined(await this.node.sendTransaction({ account, ...transaction }));
  }

  async #mined(hash) {
    const receipt = await this.node.waitForTransactionReceipt({ hash });
    if (receipt.status !== "success") throw new Error(`transaction ${hash} failed`);
    return receipt;
  }

  async #funded(account) {
    await this.node.request({ method: "anvil_setBalance", params: [account.address, toHex(FUNDS)] });
    return account;
  }

  async hasCode(address) {
    return (await this.node.getCode({ address })) !== undefined;
  }
}

/** A throw-away key, as viem's account. */
export function newKey() {
  return privateKeyToAccount(generatePrivateKey());
}
