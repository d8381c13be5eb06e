// Runs every recipe, in JavaScript, against a running server: `node main.mjs SETUP.json`.

import { readFileSync } from "node:fs";

import * as brine from "./brine.mjs";
import { Countersign } from "./caller.mjs";
import * as ratio from "./ratio.mjs";
import * as refusals from "./refusals.mjs";
import { Transcript } from "./transcript.mjs";

const setup = JSON.parse(readFileSync(process.argv[2], "utf8"));
const transcript = new Transcript(`node ${setup.store}`);
const countersign = new Countersign(setup);
try {
  for (const [name, recipe] of Object.entries({ ratio, brine, refusals })) {
    transcript.recipe = name;
    await recipe.run(countersign, setup.clients, transcript);
  }
} catch (why) {
  // An unexpected refusal is a failed check like any other.
  transcript.broken(why);
}
countersign.close();
transcript.close();
process.exitCode = transcript.failed ? 1 : 0;
