import { parseArgs } from "node:util";
import { runDemo } from "../fixtures/run-demo";
import { killAtRandom } from "./kill-at-random";
import { measureRates } from "./rates";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    // Measures, and kills nothing.
    rates: { type: "boolean" },
  },
});
const seconds = Number(values.seconds);
if (!(seconds > 0)) throw new Error("--seconds must be a number above 0");

await runDemo((defer) => (values.rates ? measureRates(defer) : killAtRandom(seconds, defer)));
