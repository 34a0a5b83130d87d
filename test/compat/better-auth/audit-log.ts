import { organization } from "better-auth/plugins";
import { auditLog } from "../../examples/audit-log";
import { standardEvents } from "../../examples/standard-events";
import { startAuth } from "./auth";
import assert from "node:assert/strict";

const { pool, post, signUp } = await startAuth({
  plugins: [organization(), auditLog(), standardEvents()],
});
const ada = await signUp("ada");
const { id } = await post("/organization/create", { name: "Lovelace", slug: "lovelace" }, ada);

const { rows } = await pool.query(`select * from "auditLog"`);
assert.deepEqual(
  rows.map(({ event, actorId, ipAddress, route, jobId }) => [
    event,
    actorId,
    ipAddress,
    route,
    jobId,
  ]),
  [["organization.member.added", ada.userId, "192.0.2.7", "/organization/create", null]],
);
assert.equal(JSON.parse(rows[0].payload).organizationId, id);
await pool.end();
