import { startAuthServer } from "../fixtures/auth-server";
import { tables } from "../fixtures/outbox";
import { tellParent } from "./child-message";

const { tell, tellError } = tellParent();
const { url } = await startAuthServer({
  databaseUrl: process.env["DATABASE_URL"]!,
  port: Number(process.env["PORT"]),
  logger: { level: "error", log: (_, ...details) => tellError(details.map(String).join(" ")) },
  plugins: tables,
});
tell({ kind: "ready", url });
