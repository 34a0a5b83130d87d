/** What a peer does again and again while it is its turn. */
export interface Entry {
  readonly name: string;
  work(): void | Promise<void>;
  /** Of how many pieces the work is, emits or handlers: the time of one is the figure. */
  readonly pieces: number;
}

export interface Table {
  readonly title: string;
  readonly figures: readonly Figure[];
}

interface Figure {
  readonly name: string;
  /** Nanoseconds of processor time. */
  readonly value: number;
  /** How many times the library's within a round. */
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
 * Entries are compared within a round, by the median of all rounds: what makes the whole machine slow
 * lasts longer than a round, and slows down both.
 */
export async function takeTurns(title: string, entries: readonly Entry[]): Promise<Table> {
  const times = entries.map((): number[] => []);
  const spent = entries.map(() => 0);
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < entries.length; turn++) {
      const index = (turn + round) % entries.length;
      if (spent[index]! > mostMilliseconds) continue;
      const { work, pieces } = entries[index]!;
      const { milliseconds, repetitions } = await takeTurn(work);
      spent[index]! += milliseconds;
      times[index]!.push((milliseconds * 1e6) / (repetitions * pieces));
    }
  }
  const figures = entries.map(({ name }, index) => ({
    name,
    value: median(times[index]!),
    multiple: median(times[index]!.map((time, round) => time / times[0]![round]!)),
  }));
  return { title, figures };
}

async function takeTurn(work: Entry["work"]) {
  const start = process.cpuUsage();
  for (let repetitions = 1; ; repetitions++) {
    await work();
    // Of all threads of this process, those that compile and collect garbage included.
    const { user, system } = process.cpuUsage(start);
    const milliseconds = (user + system) / 1_000;
    if (milliseconds >= turnMilliseconds) return { milliseconds, repetitions };
  }
}

function median(values: readonly number[]): number {
  return [...values].sort((one, other) => one - other)[Math.floor(values.length / 2)]!;
}
