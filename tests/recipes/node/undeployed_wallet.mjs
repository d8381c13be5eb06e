// A contract wallet that is not deployed yet: its signatures carry the means to deploy it (ERC-6492).

import { concat, encodeAbiParameters, encodeFunctionData, getContractAddress, keccak256, toHex } from "viem";
import { serializeErc6492Signature } from "viem/utils";

import { newKey } from "./chain.mjs";
import { ContractWallet } from "./contract_wallet.mjs";

const SALT = toHex(1n, { size: 32 });

/** A wallet whose signatures name a factory, and what that is to be called with. */
export class WrappingWallet {
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

/** A wallet of a fresh key, at the address where a WalletFactory will deploy it. */
export function undeployed(chain, factory) {
  const owner = newKey();
  const wallet = new ContractWallet(chain, addressOf(chain, factory, owner), [owner]);
  const { abi } = chain.contracts.WalletFactory;
  const deploy = encodeFunctionData({ abi, functionName: "deploy", args: [owner.address, SALT] });
  return new WrappingWallet(wallet, factory, deploy);
}

/** EIP-1014: the address follows from the factory, the salt and the code, owner included. */
function addressOf({ contracts }, factory, owner) {
  const { abi, bytecode } = contracts.OwnerWallet;
  const { inputs } = abi.find(({ type }) => type === "constructor");
  const code = concat([bytecode, encodeAbiParameters(inputs, [owner.address])]);
  return getContractAddress({ opcode: "CREATE2", from: factory, salt: SALT, bytecodeHash: keccak256(code) });
}
