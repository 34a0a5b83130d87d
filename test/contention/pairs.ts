import type { Defer } from "../fixtures/deferred";
import type { TestUser } from "../fixtures/users";
import type { Told } from "../membership-changes/expected";
import { interleave, waitsForLockIn } from "./interleave";
import { judge, kinds, type Verdict } from "./judge";
import { changes, createScene, outcomeOf, type ChangeName } from "./scene";
import {
  createContendedDatabase,
  silent,
  startContendedServer,
  type ContendedDatabase,
  type ContendedServer,
  type ContendedServerOptions,
  type Isolation,
} from "./server";

/** The servers of one database: where the first change is made, where the others are. */
export interface House {
  readonly database: ContendedDatabase;
  readonly first: ContendedServer;
  readonly second: ContendedServer;
  /** One on the same database that tells nothing. */
  readonly silent: ContendedServer;
  readonly ada: TestUser;
}

interface Round {
  /** Before which queries of the first change the others came. */
  readonly before: number[];
  readonly verdict: Verdict;
  readonly told: Told[];
  /** What somebody sees who knows nothing of the events: the answers, the tables, deadlocks. */
  readonly outcome: string;
}

/**
 * Plays the changes in every order that `playAll` knows, with the plugin and without.
 *
 * @returns what was told wrongly in each of the rounds, and what came out that cannot come out
 * without the plugin.
 */
export async function faultsOf(house: House, first: ChangeName, ...others: ChangeName[]) {
  const possible = new Set<string>();
  const plain = { ...house, first: house.silent, second: house.silent };
  // Without the plugin there are fewer queries to be interrupted before: whoever is.
  for (const [one, ...rest] of ordersOf([first, ...others])) {
    for (const { outcome } of await playAll(plain, one!, ...rest)) possible.add(outcome);
  }
  const rounds = await playAll(house, first, ...others);
  const faults = rounds.flatMap(({ before, verdict, outcome }) => [
    ...kinds.flatMap((kind) => verdict[kind].map((event) => ({ before, fault: kind, event }))),
    ...(possible.has(outcome)
      ? []
      : [{ before, fault: "outcome" as const, event: outcome, possible: [...possible] }]),
  ]);
  return { rounds: rounds.length, faults };
}

/**
 * Lets the first change be interrupted by the others, before each of its queries, or before each
 * pair of them where there are two, and after its last: each time in a new scene.
 */
async function playAll(
  house: Omit<House, "silent">,
  first: ChangeName,
  ...others: ChangeName[]
): Promise<Round[]> {
  const rounds: Round[] = [];
  const before = others.map(() => 1);
  for (;;) {
    const { queries, ...round } = await play(house, first, others, before);
    rounds.push(round);
    // Counts up, the last one first; each comes no sooner than the one before it.
    let digit = before.length - 1;
    while (digit >= 0 && before[digit]! > queries) digit--;
    if (digit < 0) return rounds;
    before.fill(before[digit]! + 1, digit);
  }
}

async function play(
  { database, first, second, ada }: Omit<House, "silent">,
  change: ChangeName,
  others: readonly ChangeName[],
  before: readonly number[],
): Promise<Round & { queries: number }> {
  const scene = await createScene(database.pool, ada);
  await database.takeTransactions();
  const servers = [...new Set([first, second])];
  for (const { told, errors } of servers) told.length = errors.length = 0;

  const { answers, queries } = await interleave(
    waitsForLockIn(database.pool),
    () => changes[change](first, scene),
    others.map((other, index) => ({
      before: before[index]!,
      work: () => changes[other](second, scene),
    })),
  );

  const told = servers.map((server) => server.told);
  const deadlocks = servers.flatMap(({ errors }) => errors).filter((code) => code === "40P01");
  const outcome = {
    answers: [change, ...others].map((name, index) => `${name}: ${shape(answers[index]!)}`).sort(),
    tables: await outcomeOf(database.pool, scene),
    deadlocks: deadlocks.length,
  };
  return {
    before: [...before],
    queries,
    verdict: judge(await database.takeTransactions(), told),
    told: told.flat(),
    outcome: JSON.stringify(outcome),
  };
}

/** An answer without the ids of the scene. */
function shape(answer: PromiseSettledResult<unknown>): string {
  if (answer.status === "rejected") return "error";
  const { value } = answer;
  if (value === null || typeof value !== "object") return `${value ?? null}`;
  return "role" in value ? `row of a ${value.role}` : "row";
}

function ordersOf<Item>(items: readonly Item[]): Item[][] {
  if (items.length === 0) return [[]];
  return items.flatMap((item, index) =>
    ordersOf(items.filter((_, other) => other !== index)).map((rest) => [item, ...rest]),
  );
}

export type HouseOptions = ContendedServerOptions & {
  isolation?: Isolation;
  /** The others make their changes on a second server. */
  twoServers?: boolean;
};

export async function startHouse(
  serverUrl: string,
  defer: Defer,
  { isolation, twoServers = false, ...options }: HouseOptions,
): Promise<House> {
  const database = await createContendedDatabase(serverUrl, defer, isolation);
  const first = await startContendedServer(database.url, defer, options);
  const second = twoServers ? await startContendedServer(database.url, defer, options) : first;
  const quiet = { ...options, plugin: silent };
  return {
    database,
    first,
    second,
    silent: await startContendedServer(database.url, defer, quiet),
    ada: await first.signUp("Ada"),
  };
}
