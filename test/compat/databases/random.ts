import { randomNumbers } from "../../contention/random";

/** Choices that only look random, so that a run can be had again. */
export function randomFrom(seed: number) {
  const next = randomNumbers(seed);
  const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(next() * items.length)]!;
  return {
    pick,
    chance: (probability: number) => next() < probability,
    shuffle: <Item>(items: readonly Item[]): Item[] =>
      items
        .map((item) => ({ item, key: next() }))
        .sort((one, other) => one.key - other.key)
        .map(({ item }) => item),
  };
}
