// Compiles the contracts of the tests: what is run is what can be read here.

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

import solc from "solc";

/** ABI and bytecode of every contract in a folder's files, by the contract's name. */
export function compile(folder) {
  const files = readdirSync(folder).filter((name) => name.endsWith(".sol"));
  const read = (name) => [name, { content: readFileSync(join(folder, name), "utf8") }];
  const output = JSON.parse(
    solc.compile(
      JSON.stringify({
        language: "Solidity",
        sources: Object.fromEntries(files.map(read)),
        settings: {
          // Of a fork that every chain of the tests has.
          evmVersion: "cancun",
          outputSelection: { "*": { "*": ["abi", "evm.bytecode.object"] } },
        },
      }),
    ),
  );
  const errors = (output.errors ?? []).filter(({ severity }) => severity === "error");
  if (errors.length > 0) throw new Error(errors.map((error) => error.formattedMessage).join("\n"));
  const contracts = Object.values(output.contracts).flatMap(Object.entries);
  return Object.fromEntries(contracts.map(([name, { abi, evm }]) => [name, artifact(abi, evm)]));
}

function artifact(abi, { bytecode }) {
  return { abi, bytecode: `0x${bytecode.object}` };
}
