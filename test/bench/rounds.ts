/** What a contender does again and again while it is its turn. */
export interface Entry {
  readonly name: string;
  work(): void | Promise<void>;
  /** Of how many pieces the work is, emits or handlers: the time of one is the figure. */
  readonly pieces: number;
}

export interface Figure {
  readonly name: string;
  readonly value: number;
  /** How many times the library's; of times, within a round. */
  readonly multiple: number;
}

const rounds = 31;
/** An entry that is done sooner runs again, so that no turn is shorter for being quick. */
const turnMilliseconds = 10;
/** An entry that has taken this long has no further turn: with some, one takes seconds. */
const mostMilliseconds = 2_000;

/**
 * Has the entries, of which the library's is the first, take turns, each round in another order.
 *
 * It measures the time that this process had a processor, not the time that it waited for one beside
 * others. Entries are compared within a round, by the median of all rounds: what makes the whole machine
 * slow lasts longer than a round, and slows down both.
 */
export async function takeTurns(entries: readonly Entry[]): Promise<Figure[]> {
  const times = entries.map((): number[] => []);
  const spent = entries.map(() => 0);
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < entries.length; turn++) {
      const index = (turn + round) % entries.length;
      if (spent[index]! > mostMilliseconds) continue;
      const { milliseconds, repetitions } = await takeTurn(entries[index]!);
      spent[index]! += milliseconds;
      times[index]!.push((milliseconds * 1e6) / (repetitions * entries[index]!.pieces));
    }
  }
  const own = times[0]!;
  return entries.map(({ name }, index) => ({
    name,
    value: median(times[index]!),
    multiple: median(times[index]!.map((time, round) => time / own[round]!)),
  }));
}

async function takeTurn({ work }: Entry) {
  const start = processorMilliseconds();
  for (let repetitions = 1; ; repetitions++) {
    await work();
    const milliseconds = processorMilliseconds() - start;
    if (milliseconds >= turnMilliseconds) return { milliseconds, repetitions };
  }
}

/** Of all threads of this process, those that compile and collect garbage included. */
function processorMilliseconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
