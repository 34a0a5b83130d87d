export type Random = ReturnType<typeof createRandom>;

export interface Load {
  readonly seconds: number;
  readonly seed: string;
}

/** Makes the same choices for the same seed. */
export function createRandom(seed: string) {
  let state = 0;
  for (const character of seed) state = (Math.imul(state, 31) + character.charCodeAt(0)) | 0;

  /** A linear congruential generator: from 0 to below 1. */
  function next(): number {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return (state >>> 0) / 2 ** 32;
  }
  /** Both ends are possible. */
  const between = (from: number, to: number) => from + Math.floor(next() * (to - from + 1));
  const pick = <Item>(items: readonly Item[]): Item => items[between(0, items.length - 1)]!;
  /** Each item comes with how often it is picked, compared with the others. */
  const pickWeighted = <Item>(items: readonly (readonly [weight: number, item: Item])[]): Item =>
    pick(items.flatMap(([weight, item]) => Array<Item>(weight).fill(item)));

  return { between, oneIn: (times: number) => next() * times < 1, pick, pickWeighted };
}
