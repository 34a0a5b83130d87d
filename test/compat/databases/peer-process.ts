import { once } from "node:events";
import { Deferred } from "../../fixtures/deferred";
import { Recorder } from "../../membership-changes/recorder";
import { startServer } from "../../membership-changes/server";
import { standardEvents } from "../../examples/standard-events";
import { engines } from "./engines";
import { codeOf } from "./outcome";
import type { PeerOptions, Taken } from "./peer";

/** The process that `peer.ts` starts. */
// As in `main.ts`.
console.error = () => {};
const deferred = new Deferred();
process.on("disconnect", async () => {
  await deferred.run();
  process.exit();
});

const [{ engine: name, location, withPlugin }] = (await once(process, "message")) as [PeerOptions];
const recorder = new Recorder();
const engine = engines.find((engine) => engine.name === name)!;
const server = await startServer(deferred.defer, await engine.open(location, deferred.defer), {
  plugins: withPlugin ? [recorder.plugin(), standardEvents()] : [],
});
process.on("message", () => {
  const taken: Taken = { told: recorder.end(), errors: server.errors.splice(0).map(codeOf) };
  process.send!(taken);
});
process.send!({ url: server.url });
