// Runs every recipe, in JavaScript, against a running server: `node main.mjs SETUP.json`.

import { readFileSync } from "node:fs";

import * as bine from "./bine.mjs";
import * as brine from "./brine.mjs";
import { Countersign } from "./caller.mjs";
import * as cedalio from "./cedalio.mjs";
import * as ratio from "./ratio.mjs";
import * as refusals from "./refusals.mjs";
import * as siwe from "./siwe.mjs";
import * as solana from "./solana.mjs";
import { Transcript } from "./transcript.mjs";

const RECIPES = {
  ratio: ratio.run,
  brine: brine.run,
  cedalio: cedalio.run,
  "bine v1": bine.runV1,
  "bine v2": bine.runV2,
  siwe: siwe.run,
  solana: solana.run,
  refusals: refusals.run,
};

const setup = JSON.parse(readFileSync(process.argv[2], "utf8"));
const transcript = new Transcript(`node ${setup.store}`);
const countersign = new Countersign(setup);
try {
  for (const [name, run] of Object.entries(RECIPES)) {
    transcript.recipe = name;
    await run(countersign, setup.clients, transcript);
  }
} catch (why) {
  // An unexpected refusal is a failed check like any other.
  transcript.broken(why);
}
countersign.close();
transcript.close();
process.exitCode = transcript.failed ? 1 : 0;
