import assert from "node:assert/strict";
import { getCurrentAdapter, runWithTransaction } from "@better-auth/core/context";
import { getBus } from "@kernia/events";
import { emitAfterCommit } from "../../examples/recipes/after-commit";
import { startAuth } from "./auth";

const note = { fields: { text: { type: "string", required: true } } } as const;
const { auth, pool } = await startAuth({ plugins: [{ id: "notes", schema: { note } }] });
const context = await auth.$context;
const { adapter } = context;
const seen: (number | null)[] = [];
getBus(context).on("notes.added", async () => seen.push((await pool.query("table note")).rowCount));

await runWithTransaction(adapter, async () => {
  await emitAfterCommit(context, "notes.added", {});
  const inTransaction = await getCurrentAdapter(adapter);
  await inTransaction.create({ model: "note", data: { text: "one" } });
});
assert.deepEqual(seen, [1]);

const rolledBack = runWithTransaction(adapter, async () => {
  await emitAfterCommit(context, "notes.added", {});
  throw new Error("rolled back");
});
await assert.rejects(rolledBack, /rolled back/);
assert.deepEqual(seen, [1]);
await pool.end();
