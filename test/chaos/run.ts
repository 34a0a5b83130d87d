import { parseArgs } from "node:util";
import { runDemo } from "../fixtures/run-demo";
import { killAtRandom } from "./kill-at-random";
import { measureRates } from "./rates";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    // Makes the choices the same, but not the moments.
    seed: { type: "string", default: String(Date.now()) },
    // Measures, and kills nothing.
    rates: { type: "boolean" },
  },
});
const load = { seconds: Number(values.seconds), seed: values.seed };
if (!(load.seconds > 0)) throw new Error("--seconds must be a number above 0");

await runDemo((defer) => (values.rates ? measureRates(defer) : killAtRandom(load, defer)));
