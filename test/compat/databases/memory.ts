import { getAuthTables } from "@better-auth/core/db";
import { memoryAdapter } from "better-auth/adapters/memory";
import { toTables } from "../../membership-changes/expected";
import type { Engine } from "../../membership-changes/database";

type Rows = Record<string, Record<string, unknown>[]>;

export const memory: Engine = {
  name: "memory adapter",
  async open() {
    const rows: Rows = {};
    return {
      transactions: true,
      keepsMemberships: true,
      readTables: async () => toTables(rows["member"]!, rows["user"]!),
      async connect(options) {
        for (const { modelName } of Object.values(getAuthTables(options))) rows[modelName] ??= [];
        return memoryAdapter(rows);
      },
    };
  },
};
