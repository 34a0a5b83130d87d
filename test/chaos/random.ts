export type Random = ReturnType<typeof createRandom>;

/** The same numbers for the same seed. */
export function createRandom(seed: string) {
  let state = 0;
  for (const character of seed) state = (Math.imul(state, 31) + character.charCodeAt(0)) | 0;

  /** Mulberry32: from 0 to below 1. */
  function next(): number {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }
  /** Both ends are possible. */
  const between = (from: number, to: number) => from + Math.floor(next() * (to - from + 1));

  return {
    between,
    oneIn: (times: number) => next() * times < 1,
    pick: <Item>(items: readonly Item[]): Item => items[between(0, items.length - 1)]!,
  };
}
