import { startAuthServer } from "./harness/auth-server";
import { parentOf } from "./harness/child";
import { createOutbox, tables } from "./harness/outbox";

/** What the auth server tells the process that started it. */
export interface AuthServerMessage {
  readonly kind: "ready";
}

const { tell } = parentOf<AuthServerMessage>();
const { pool } = await startAuthServer({
  databaseUrl: process.env["DATABASE_URL"]!,
  port: Number(process.env["PORT"]),
  plugins: tables,
});
await createOutbox(pool);
tell({ kind: "ready" });
