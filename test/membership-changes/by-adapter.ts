import { getCurrentAdapter, runWithTransaction } from "@better-auth/core/context";
import {
  change,
  failure,
  idIn,
  idIs,
  inOrganization,
  preparedChange,
  severalTimes,
  twiceAtOnce,
  type MembershipChange,
} from "./membership-change";

const model = "member";
const update = { role: "editor" };
const unknownId = "1000000";

export const byAdapter: MembershipChange[] = [
  change("adapter.create", ({ join, organizationId }) => join(organizationId, "admin")),
  change("adapter.create for an unknown user", ({ adapter, organizationId }) =>
    adapter.create({ model, data: memberOf(organizationId, { userId: unknownId }) }),
  ),
  change("adapter.update", ({ adapter, bob }) =>
    adapter.update({ model, where: idIs(bob.memberId), update }),
  ),
  change("adapter.update by organization and user", ({ adapter, bob, organizationId }) => {
    const where = [{ field: "userId", value: bob.userId }, ...inOrganization(organizationId)];
    return adapter.update({ model, where, update });
  }),
  change("adapter.update to another user", ({ adapter, bob, dave: { userId } }) =>
    adapter.update({ model, where: idIs(bob.memberId), update: { userId } }),
  ),
  preparedChange("adapter.update to another organization and role", async (scenario) => {
    const { adapter, bob, organization } = scenario;
    const move = { organizationId: await organization(), ...update };
    return () => adapter.update({ model, where: idIs(bob.memberId), update: move });
  }),
  preparedChange("adapter.updateMany of 120 roles", async (scenario) => {
    const { adapter, fill, organizationId } = scenario;
    await fill(120, organizationId);
    const where = [...inOrganization(organizationId), { field: "role", value: "member" }];
    return () => adapter.updateMany({ model, where, update });
  }),
  change("adapter.updateMany to the role of one", ({ adapter, bob, carol }) => {
    const where = idIn(bob.memberId, carol.memberId);
    return adapter.updateMany({ model, where, update: { role: "admin" } });
  }),
  change("adapter.updateMany by either of two conditions", ({ adapter, bob, carol }) => {
    const either = [bob, carol].flatMap(({ memberId }) => idIs(memberId));
    const where = either.map((condition) => ({ ...condition, connector: "OR" as const }));
    return adapter.updateMany({ model, where, update });
  }),
  change("adapter.incrementOne that sets a role", ({ adapter, bob }) =>
    adapter.incrementOne({ model, where: idIs(bob.memberId), increment: {}, set: update }),
  ),

  ...(["delete", "deleteMany", "consumeOne"] as const).flatMap((method) => [
    change(`adapter.${method}`, ({ adapter, carol }) =>
      adapter[method]({ model, where: idIs(carol.memberId) }),
    ),
    twiceAtOnce(`adapter.${method}`, ({ adapter, carol }) =>
      adapter[method]({ model, where: idIs(carol.memberId) }),
    ),
    change(`adapter.${method} of an unknown member`, ({ adapter }) =>
      adapter[method]({ model, where: idIs(unknownId) }),
    ),
    change(`adapter.${method} of a user`, ({ adapter, carol }) =>
      adapter[method]({ model: "user", where: idIs(carol.userId) }),
    ),
    change(`adapter.${method} of an organization`, ({ adapter, organizationId }) =>
      adapter[method]({ model: "organization", where: idIs(organizationId) }),
    ),
  ]),
  preparedChange("adapter.deleteMany of 120 members", async (scenario) => {
    const { adapter, fill, organizationId } = scenario;
    await fill(120, organizationId);
    const where = [...inOrganization(organizationId), { field: "role", value: "member" }];
    return () => adapter.deleteMany({ model, where });
  }),
  change("adapter.deleteMany of two users", ({ adapter, bob, carol }) =>
    adapter.deleteMany({ model: "user", where: idIn(bob.userId, carol.userId) }),
  ),

  change("a transaction of three changes", ({ adapter, bob, carol, dave, organizationId }) =>
    adapter.transaction(async (transaction) => {
      await transaction.delete({ model, where: idIs(bob.memberId) });
      await transaction.update({ model, where: idIs(carol.memberId), update });
      await transaction.create({ model, data: memberOf(organizationId, dave) });
    }),
  ),
  severalTimes(
    change("a transaction that is rolled back", ({ adapter, bob }) =>
      adapter.transaction(async (transaction) => {
        await transaction.update({ model, where: idIs(bob.memberId), update });
        await transaction.delete({ model: "user", where: idIs(bob.userId) });
        throw new Error("rolled back");
      }),
    ),
  ),
  severalTimes(
    change("a transaction that adds and removes a member", ({ adapter, dave, organizationId }) =>
      adapter.transaction(async (transaction) => {
        const data = memberOf(organizationId, dave);
        const { id } = await transaction.create<object, { id: string }>({ model, data });
        await transaction.deleteMany({ model, where: idIs(id) });
      }),
    ),
  ),
  change("runWithTransaction", ({ adapter, bob, context }) =>
    runWithTransaction(adapter, () => context.internalAdapter.deleteUser(bob.userId)),
  ),
  change("runWithTransaction within itself", ({ adapter, bob }) =>
    runWithTransaction(adapter, () =>
      runWithTransaction(adapter, async () => {
        const transaction = await getCurrentAdapter(adapter);
        await transaction.delete({ model, where: idIs(bob.memberId) });
      }),
    ),
  ),
  change("a transaction within a transaction that fails, and is caught", ({ adapter, bob }) =>
    adapter.transaction((transaction) =>
      failure(
        // It has the method, though its type leaves it out.
        (transaction as typeof adapter).transaction(async (nested) => {
          await nested.delete({ model, where: idIs(bob.memberId) });
          throw new Error("caught by the outer one");
        }),
      ),
    ),
  ),
  change("two updates at once within a transaction", ({ adapter, bob }) =>
    adapter.transaction((transaction) => {
      const change = () => transaction.update({ model, where: idIs(bob.memberId), update });
      return Promise.all([change(), change()]);
    }),
  ),
];

function memberOf(organizationId: string, { userId }: { userId: string }) {
  return { organizationId, userId, role: "member", createdAt: new Date() };
}
