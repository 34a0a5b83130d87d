import { bold, dim, green, heading, red } from "../fixtures/print";
import { library } from "./contenders";

export interface Figure {
  readonly name: string;
  readonly lacks?: string;
  readonly value: number;
  /** How many times the library's; of times, within a round. */
  readonly multiple: number;
}

export interface Table {
  readonly title: string;
  readonly unit: "ns" | "bytes";
  readonly figures: readonly Figure[];
}

export interface Target {
  readonly work: string;
  readonly atMost: number;
  readonly ratio: number;
}

const barWidth = 32;

/** Prints each contender with its figure, how many times the library's that is, and a bar. */
export function printTable({ title, unit, figures }: Table): void {
  heading(title);
  const most = Math.max(...figures.map(({ value }) => value));
  for (const { name, lacks, value, multiple } of figures) {
    const bar = "█".repeat(Math.max(1, Math.round((value / most) * barWidth)));
    const columns = [
      name.padEnd(24),
      `${format(value)} ${unit}`.padStart(15),
      `${multiple.toFixed(2)}×`.padStart(9),
      name.startsWith(library.name) ? green(bar) : bar,
    ];
    const line = `  ${columns.join("  ")}`;
    console.log(lacks ? `${line}  ${dim(lacks)}` : line);
  }
}

export function printTargets(targets: readonly Target[]): void {
  heading("targets, library : contender");
  for (const { work, ratio, atMost } of targets) {
    const reached = ratio <= atMost;
    const verdict = reached ? green("reached") : red("missed");
    const columns = [
      work.padEnd(52),
      bold(ratio.toFixed(2).padStart(6)),
      dim(`at most ${atMost.toFixed(2)}`),
      verdict,
    ];
    console.log(`  ${columns.join("  ")}`);
  }
}

/** How many times the library's value each is. */
export function compared(figures: readonly Omit<Figure, "multiple">[]): Figure[] {
  const own = figures.find(({ name }) => name === library.name)?.value ?? Number.NaN;
  return figures.map((figure) => ({ ...figure, multiple: figure.value / own }));
}

export function format(value: number): string {
  return value < 100 ? value.toFixed(1) : Math.round(value).toLocaleString("en");
}
