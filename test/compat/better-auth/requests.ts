import assert from "node:assert/strict";
import { getBus } from "@kernia/events";
import { organization } from "better-auth/plugins";
import { auditLog } from "../../examples/audit-log";
import { privacy } from "../../examples/recipes/in-background";
import { standardEvents } from "../../examples/standard-events";
import { startAuth } from "./auth";

const tasks: Promise<unknown>[] = [];
const exported: string[] = [];
let release = () => {};
const released = new Promise<void>((resolve) => (release = resolve));
const { auth, pool, post, signUp } = await startAuth({
  advanced: { backgroundTasks: { handler: (task) => tasks.push(task) } },
  plugins: [organization(), auditLog(), standardEvents(), privacy],
});
getBus(await auth.$context).on("privacy.export.requested", async ({ userId }) => {
  await released;
  exported.push(userId);
});

const ada = await signUp("ada");
const { id } = await post("/organization/create", { name: "Lovelace", slug: "lovelace" }, ada);
const { rows } = await pool.query(`select * from "auditLog"`);
assert.equal(rows.length, 1);
const [{ event, actorId, ipAddress, route, payload }] = rows;
assert.deepEqual(
  [event, actorId, ipAddress, route, JSON.parse(payload).organizationId],
  ["organization.member.added", ada.id, "192.0.2.7", "/organization/create", id],
);

tasks.length = 0;
await post("/export-me", {}, ada);
assert.deepEqual([exported, tasks.length], [[], 1]);
release();
await Promise.all(tasks);
assert.deepEqual(exported, [ada.id]);
await pool.end();
