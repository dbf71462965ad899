/** Stacking: every line stands on the sum of those before it. Pure. */

/** Running sums, top line last drawn first: line `i` becomes the sum of lines `0..=i`; a gap counts as nothing. */
export function stack(lines: readonly (readonly (number | null)[])[]): (number | null)[][] {
  const sums: number[] = [];
  return lines.map((line) =>
    line.map((value, i) => {
      if (value === null && lines.every((other) => other[i] == null)) return null;
      sums[i] = (sums[i] ?? 0) + (value ?? 0);
      return sums[i] ?? null;
    }),
  );
}
