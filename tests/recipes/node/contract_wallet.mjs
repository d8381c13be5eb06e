// A contract wallet of the tests: its owners' keys sign, and its contract on one chain is asked.

import { concat, getAddress } from "viem";
import { createSiweMessage } from "viem/siwe";

import { Application } from "./application.mjs";
import { newKey } from "./chain.mjs";

export const RPC_UNAVAILABLE = ["UNAVAILABLE", "CHAIN_RPC_UNAVAILABLE"];

export class ContractWallet {
  constructor(chain, address, owners) {
    this.chain = chain;
    this.network = chain.network;
    this.address = getAddress(address);
    this.owners = owners;
  }

  signText(message) {
    return this.#byEach((owner) => owner.signMessage({ message }));
  }

  signTypedData(data) {
    return this.#byEach((owner) => owner.signTypedData(data));
  }

  compose(fields) {
    const { address, chain } = this;
    return createSiweMessage({ ...fields, address, chainId: chain.node.chain.id });
  }

  async #byEach(sign) {
    return concat(await Promise.all(this.owners.map(sign)));
  }
}

/** One address on chains 1 and 10, and another owner on each. */
export async function deployTwins(chains) {
  const deployer = newKey();
  const deploy = async (chain) => {
    const owner = newKey();
    const address = await chain.deploy("OwnerWallet", [owner.address], deployer);
    return new ContractWallet(chain, address, [owner]);
  };
  return [await deploy(chains[1]), await deploy(chains[10])];
}

/** The application that lets contract wallets sign in. */
export class Vault extends Application {
  #countersign;

  constructor(countersign, clients, transcript) {
    super(countersign, clients, "vault", transcript);
    this.#countersign = countersign;
  }

  /** A text for an address to sign on a chain. */
  text(address, network) {
    return this.start({ format: "CHALLENGE_FORMAT_TEXT", address, network });
  }

  /** Redeems a text of a wallet by what it signs. */
  async signIn(wallet) {
    const { id, message } = await this.text(wallet.address, wallet.network);
    return this.verify({ challenge_id: id, signature: await wallet.signText(message) });
  }

  /** Checks who an answer says has signed in, and that its access token says the same. */
  async checkContract(what, answer, { address, chain }, method = "VERIFICATION_METHOD_EIP1271") {
    const { block_number: block, ...verified } = answer.verification;
    const expected = { method, address, network: chain.network };
    this.transcript.equal(what, pick(verified, expected), expected);
    const height = Number(await chain.node.getBlockNumber({ cacheTime: 0 }));
    this.transcript.equal("the contract was asked at the newest block", block, height);
    const { claims } = await this.#countersign.verifyAccessToken(
      answer.tokens.access_token,
      this.client.client_id,
    );
    const said = { sub: answer.account.id, address, network: chain.network, wallet_kind: "contract" };
    this.transcript.equal("so says the token", pick(claims, said), said);
  }
}

function pick(from, like) {
  return Object.fromEntries(Object.keys(like).map((name) => [name, from[name]]));
}
