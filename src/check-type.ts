/** Throws a `TypeError` that says what `name` must be, and what it is instead. */
export function checkType(value: unknown, type: string, name: string): void {
  const actual = value === null ? value : typeof value;
  if (actual !== type) throw new TypeError(`${name} must be of type ${type}, got ${actual}`);
}
