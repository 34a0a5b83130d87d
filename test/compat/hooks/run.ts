import { getBus, type MemberEvent } from "@kernia/events";
import type { BetterAuthPlugin } from "better-auth";
import { standardEvents } from "../../examples/standard-events";
import { withDeferred } from "../../fixtures/deferred";
import { createOutbox, takeEvents } from "../../fixtures/outbox";
import { change } from "../../membership-changes/membership-change";
import { changesBy } from "../../membership-changes/membership-changes";
import { observe, Recorder } from "../../membership-changes/observe";
import { startPostgresServer } from "../../membership-changes/server";

/** Emits what Better Auth's own hooks report, each time that they do. */
const hooks: BetterAuthPlugin = {
  id: "hooks",
  init(auth) {
    const report = (action: string) => (reported: { member: MemberEvent }) => {
      const { organizationId, userId, role } = reported.member;
      const payload = { organizationId, userId, role, action };
      return getBus(auth).emit<string>(`organization.member.${action}`, payload);
    };
    const { options } = auth.options.plugins!.find(({ id }) => id === "organization")!;
    Object.assign(options!["organizationHooks"], {
      afterAddMember: report("added"),
      afterAcceptInvitation: report("added"),
      afterUpdateMemberRole: report("updated"),
      afterRemoveMember: report("removed"),
    });
    const after = ({ id: userId }: { id: string }) =>
      getBus(auth).emit("user.deleted", { userId, action: "deleted" });
    return { options: { databaseHooks: { user: { delete: { after } } } } };
  },
};

console.error = () => {}; // Better Auth prints what a request failed with.
await withDeferred(async (defer) => {
  const rows: Record<string, Record<string, number>> = { changes: {} };
  for (const plugin of [hooks, standardEvents(), { id: "triggers" }]) {
    const recorder = new Recorder();
    const server = await startPostgresServer(defer, { plugins: [plugin, recorder.plugin()] });
    const { outside: pool, context } = (recorder.server = server);
    await createOutbox(pool);
    if (plugin.id === "triggers")
      recorder.relay = async () => {
        for (const event of await takeEvents(pool)) await getBus(context).emit(...event);
      };
    const sql = "update member set role = 'admin' where id = $1";
    const bySql = [change("SQL", ({ bob }) => pool.query(sql, [bob.memberId]))];
    const [all, right]: [Record<string, number>, Record<string, number>] = [{}, {}];
    for (const [by, changes] of Object.entries({ ...changesBy, SQL: bySql })) {
      for (const each of changes) {
        const { faults, changed } = await observe(each, server, recorder);
        const group = changed ? by : "no change";
        all[group] = (all[group] ?? 0) + 1;
        right[group] = (right[group] ?? 0) + (faults.length === 0 ? 1 : 0);
        if (faults.length > 0) console.log(`  ${plugin.id}, not right: ${each.name}`);
      }
    }
    Object.assign(rows, { changes: all, [plugin.id]: right });
  }
  console.table(rows, [...Object.keys(changesBy), "SQL", "no change"]);
});
