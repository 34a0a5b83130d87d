import type { Path } from "../../membership-changes/membership-changes";
import type { Recorder } from "../../membership-changes/recorder";
import type { Server } from "../../membership-changes/server";
import {
  deletedTooEarly,
  leadsTo,
  owed,
  sorted,
  type Told,
} from "../../membership-changes/expected";

/** What taking a path came to. */
export interface Outcome {
  /** What is wrong with what was told; empty if it was told rightly. */
  readonly wrong: readonly string[];
  /** Answers, errors, hooks and rows, without what differs from one time to the next. */
  readonly behaviour: string;
}

export async function take(
  { prepare, inSteps }: Path,
  server: Server,
  recorder?: Recorder,
): Promise<Outcome> {
  const { outside } = server.database;
  for (const hook of Object.keys(server.hooks)) delete server.hooks[hook as never];
  const change = await prepare(server);
  const [before, rowsBefore] = [await outside.readTables(), await outside.countRows()];
  server.hooksRun.length = 0;
  recorder?.begin();
  const answer = await change().catch((error: unknown) => ({ failedWith: error }));
  const handled = recorder?.handled;
  const told = recorder?.end() ?? [];
  const [after, rowsAfter] = [await outside.readTables(), await outside.countRows()];

  const debt = owed(before, after);
  const rows = Object.keys(rowsAfter).map((table) => [
    table,
    rowsAfter[table]! - rowsBefore[table]!,
  ]);
  const members = debt.map(([event, payload]) => [event, "role" in payload ? payload.role : ""]);
  const behaviour = normal({
    answer: Array.isArray(answer) ? answer.map(normal).sort() : answer,
    hooks: [...server.hooksRun].sort(),
    members: members.map((pair) => pair.join(" ")).sort(),
    rows: Object.fromEntries(rows),
  });
  if (!recorder) return { wrong: [], behaviour };

  const wrong: string[] = [];
  const right = inSteps ? leadsTo(before, told, after) : same(told, debt);
  if (!right && !same(told, debt)) wrong.push(`told ${list(told)}`, `owed ${list(debt)}`);
  const early = server.database.keepsMemberships ? undefined : deletedTooEarly(told);
  if (early !== undefined) wrong.push(`user.deleted before a removal: ${list(told)}`);
  if (!inSteps && recorder.tooEarly.length > 0) {
    wrong.push(`told, but not there for others: ${list(recorder.tooEarly)}`);
  }
  if (handled !== told.length) wrong.push(`${told.length} told, ${handled} handled when answered`);
  return { wrong, behaviour };
}

const same = (one: readonly Told[], other: readonly Told[]) =>
  sorted(one).join() === sorted(other).join();

const mostShown = 6;

export function list(events: readonly Told[]): string {
  const shown = events.slice(0, mostShown).map(([event, payload]) => {
    const role = "role" in payload ? ` (${payload.role})` : "";
    return `${event} ${payload.userId.slice(0, 6)}${role}`;
  });
  if (events.length > mostShown) shown.push(`and ${events.length - mostShown} more`);
  return shown.length === 0 ? "nothing" : shown.join(", ");
}

/** As text that is the same whenever the same happens. */
function normal(value: unknown): string {
  return JSON.stringify(
    value,
    (_, value: unknown) => {
      if (value instanceof Error) return `error ${codeOf(value)}`;
      if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
      return Object.fromEntries(
        Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)),
      );
    },
    1,
  )
    .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, "<id>")
    .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "<date>")
    .replaceAll(/127\.0\.0\.1:\d+/g, "<host>")
    .replaceAll(/(?<![A-Za-z0-9])[A-Za-z0-9]{32}(?![A-Za-z0-9])/g, "<id>");
}

/** What says, in a word, why a database or Better Auth refused. */
export function codeOf(error: unknown): string {
  const { cause, code, errno, status, meta, name } = (error ?? {}) as Record<string, unknown>;
  if (cause !== undefined && cause !== error && codeOf(cause) !== "Error") return codeOf(cause);
  const driver = (
    meta as { driverAdapterError?: { cause?: { originalCode?: string } } } | undefined
  )?.driverAdapterError?.cause?.originalCode;
  return String(driver ?? code ?? status ?? errno ?? name ?? "unknown");
}
