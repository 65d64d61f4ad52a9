/** Sums that may have been opened, and whom they show together (PROTOCOL.md, "Sums of the same model"). */

export interface Sum {
  readonly roundId: string;
  readonly model: string;
  readonly purpose: string;
  readonly threshold: number;
  readonly survivors: readonly string[];
}

const TOGETHER = ["train", "metrics"];

const related = (a: Sum, b: Sum): boolean =>
  a.model === b.model && (a.purpose === b.purpose || (TOGETHER.includes(a.purpose) && TOGETHER.includes(b.purpose)));

/** Participants in cells that are too small, ascending; none if `next` may be opened beside the sums before it. */
export function exposed(before: readonly Sum[], next: Sum): string[] {
  const sums = [...before.filter((sum) => related(sum, next)), next];
  const cells = new Map<string, { members: string[]; sums: Sum[] }>();
  const within = new Map<string, number[]>();
  sums.forEach((sum, i) => sum.survivors.forEach((id) => within.set(id, [...(within.get(id) ?? []), i])));
  for (const [id, numbers] of within) {
    const cell = cells.get(numbers.join()) ?? { members: [], sums: numbers.map((i) => sums[i]!) };
    cell.members.push(id);
    cells.set(numbers.join(), cell);
  }
  const small = [...cells.values()].filter((cell) => {
    const largest = new Map<string, number>();
    for (const sum of cell.sums) largest.set(sum.purpose, Math.max(sum.threshold, largest.get(sum.purpose) ?? 0));
    return cell.members.length < Math.min(...largest.values());
  });
  return small.flatMap((cell) => cell.members).sort();
}
