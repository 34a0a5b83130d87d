import assert from "node:assert/strict";
import { getBus } from "@kernia/events";
import { privacy } from "../../examples/recipes/in-background";
import { startAuth } from "./auth";

const tasks: Promise<unknown>[] = [];
const seen: string[] = [];
let release = () => {};
const released = new Promise<void>((resolve) => (release = resolve));
const { pool, post, signUp } = await startAuth({
  advanced: { backgroundTasks: { handler: (task) => tasks.push(task) } },
  plugins: [
    {
      id: "slow",
      init(auth) {
        getBus(auth).on("privacy.export.requested", async ({ userId }) => {
          await released;
          seen.push(userId);
        });
      },
    },
    privacy,
  ],
});

const ada = await signUp("ada");
tasks.length = 0;
await post("/export-me", {}, ada);
assert.deepEqual([seen, tasks.length], [[], 1]);

release();
await Promise.all(tasks);
assert.deepEqual(seen, [ada.userId]);
await pool.end();
