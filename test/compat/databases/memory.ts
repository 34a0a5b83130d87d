import { randomUUID } from "node:crypto";
import { getAuthTables } from "@better-auth/core/db";
import { memoryAdapter } from "better-auth/adapters/memory";
import { tables } from "../../membership-changes/database";
import { toTables } from "../../membership-changes/expected";
import type { Engine } from "./engine";

type Rows = Record<string, Record<string, unknown>[]>;

export const memory: Engine = {
  name: "memory adapter",
  async open() {
    const rows: Rows = {};
    return {
      transactions: true,
      keepsMemberships: true,
      outside: {
        readTables: async () => toTables(rows["member"]!, rows["user"]!),
        countRows: async () =>
          Object.fromEntries(tables.map((table) => [table, rows[table]!.length])),
        async count(table, values) {
          const wanted = Object.entries(values);
          return rows[table]!.filter((row) =>
            wanted.every(([column, value]) => row[column] === value),
          ).length;
        },
        async insert(table, added) {
          const withIds = added.map((row) => ({ id: randomUUID(), ...row }));
          rows[table]!.push(...withIds);
          return withIds.map(({ id }) => id);
        },
      },
      async connect(options) {
        for (const { modelName } of Object.values(getAuthTables(options))) rows[modelName] ??= [];
        return memoryAdapter(rows);
      },
    };
  },
};
