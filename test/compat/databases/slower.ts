import type { BetterAuthPlugin } from "better-auth";

/** Reads before each update, and changes nothing: whatever comes out then may on a slower database. */
export function slower(): BetterAuthPlugin {
  return {
    id: "slower",
    init({ adapter }) {
      const { update } = adapter;
      adapter.update = async (query) => {
        await adapter.findMany({ model: query.model, limit: 1 });
        return update(query);
      };
    },
  };
}
