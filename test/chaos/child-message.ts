import { parentOf } from "../fixtures/child";

/** What a process tells the one that started it, and keeps running. */
export interface ChildMessage {
  readonly kind: "ready" | "error";
  readonly url?: string;
  readonly text?: string;
}

/** Has this process end at what nobody catches, as without this, but tell of it rather than print it. */
export function tellParent() {
  const { tell } = parentOf<ChildMessage>();
  const tellError = (error: unknown) => tell({ kind: "error", text: String(error) });
  // Better Auth's router prints there, past its logger.
  console.error = (...details: unknown[]) => tellError(details.map(String).join(" "));
  process.on("uncaughtException", (error) => {
    tellError(error);
    process.exit(1);
  });
  return { tell, tellError };
}
