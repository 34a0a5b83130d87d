import { startRelay } from "../examples/outbox/worker";
import { parentOf } from "../fixtures/child";

/** A relay that has read events and done its work, but does not come to committing it. */
const { tell } = parentOf<{ kind: "ready" | "stuck" }>();
startRelay({
  databaseUrl: process.env["DATABASE_URL"]!,
  async forward(_, client) {
    await client.query("insert into delivered values (0, 0)");
    tell({ kind: "stuck" });
    await new Promise(() => {});
  },
});
tell({ kind: "ready" });
