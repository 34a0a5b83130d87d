import assert from "node:assert/strict";
import { getBus } from "@kernia/events";
import { auditLog } from "../../examples/audit-log";
import { privacy } from "../../examples/recipes/in-background";
import { standardEvents } from "../../examples/standard-events";
import { startAuthServer } from "../../fixtures/auth-server";
import { createOrganization, expectOk, signUp } from "../../fixtures/users";

const tasks: Promise<unknown>[] = [];
const exported: string[] = [];
let release = () => {};
const released = new Promise<void>((resolve) => (release = resolve));
const { auth, pool, url, close } = await startAuthServer({
  databaseUrl: process.argv[2]!,
  advanced: { backgroundTasks: { handler: (task) => tasks.push(task) } },
  plugins: [auditLog(), standardEvents(), privacy],
});
getBus(await auth.$context).on("privacy.export.requested", async ({ userId }) => {
  await released;
  exported.push(userId);
});

const ada = await signUp(url, "Ada");
const id = await createOrganization(ada, "lovelace");
const { rows } = await pool.query(`select * from "auditLog"`);
const logged = rows.map(({ event, actorId, route }) => [event, actorId, route]);
assert.deepEqual(logged, [["organization.member.added", ada.userId, "/organization/create"]]);
assert.equal(JSON.parse(rows[0].payload).organizationId, id);

tasks.length = 0;
expectOk(await ada.client.post("/export-me"));
assert.deepEqual([exported, tasks.length], [[], 1]);
release();
await Promise.all(tasks);
assert.deepEqual(exported, [ada.userId]);
await close();
