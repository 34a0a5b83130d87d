import assert from "node:assert/strict";
import { getBus } from "@kernia/events";
import pino from "pino";
import { forPino } from "../../examples/recipes/loggers";
import { startAuth } from "./auth";

const lines: { msg: string; err?: { message: string }; details: unknown[] }[] = [];
const { auth, pool } = await startAuth({
  logger: forPino(pino({}, { write: (line) => lines.push(JSON.parse(line)) })),
});
const bus = getBus(await auth.$context);
bus.on("user.deleted", () => Promise.reject(new Error("Stripe is unavailable")));
await bus.emit("user.deleted", { userId: "u_1", action: "deleted" });

const line = lines.find(({ msg }) => msg === "Event handler failed:");
assert.equal(line?.err?.message, "Stripe is unavailable");
assert.deepEqual(line.details, ["user.deleted"]);
await pool.end();
