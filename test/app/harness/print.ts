import { styleText } from "node:util";

type Style = Parameters<typeof styleText>[0];

/** Colours only on a terminal, and not where `NO_COLOR` asks for none. */
const colours = process.stdout.isTTY && !process.env["NO_COLOR"];

const style = (name: Style) => (text: unknown) =>
  colours ? styleText(name, String(text)) : String(text);

export const bold = style("bold");
export const dim = style("dim");
export const green = style("green");
export const red = style("red");
export const yellow = style("yellow");

export function heading(title: string): void {
  console.log(`\n${bold(title)}`);
}

/** Prints each name above its value. */
export function table(row: Record<string, unknown>): void {
  const names = Object.keys(row);
  console.log(`  ${dim(names.join("   "))}`);
  console.log(`  ${names.map((name) => String(row[name]).padStart(name.length)).join("   ")}`);
}
