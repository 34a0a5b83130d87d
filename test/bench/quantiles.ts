export const median = (values: readonly number[]): number => quantile(values, 1 / 2);

/** For what a disturbance of the machine can only make slower. */
export const lowerQuartile = (values: readonly number[]): number => quantile(values, 1 / 4);

function quantile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length * part)] ?? Number.NaN;
}
