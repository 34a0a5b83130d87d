import { parseArgs } from "node:util";
import { runDemo } from "../fixtures/run-demo";
import { killAtRandom } from "./kill-at-random";
import { requestAtRandom } from "./random-requests";

const { values } = parseArgs({
  options: {
    // For how long each of the two changes memberships.
    seconds: { type: "string", default: "60" },
    // Makes the choices the same, but not the moments.
    seed: { type: "string", default: String(Date.now()) },
  },
});
const load = { seconds: Number(values.seconds), seed: values.seed };
if (!(load.seconds > 0)) throw new Error("--seconds must be a number above 0");

await runDemo((defer) => requestAtRandom(load, defer));
await runDemo((defer) => killAtRandom(load, defer));
