/** Sums that may have been opened, and whom they show together (PROTOCOL.md, "Sums of the same model"). */
import { COORDINATOR, PolicyViolation } from "./errors.js";

export interface Sum {
  readonly roundId: string;
  readonly model: string;
  readonly purpose: string;
  readonly threshold: number;
  readonly survivors: readonly string[];
}

/** What a participant remembers of sums that may hold its update. This one lasts as long as the process. */
export class Memory {
  readonly sums: Sum[] = [];
  /** Whether it outlasts the process. */
  readonly durable: boolean = false;
  /** Rounds whose sum came out, as the coordinator said. */
  readonly received = new Set<string>();

  /**
   * Record a sum in the moment in which its survivors are shown, before anything of ours opens it (C86).
   * `oncePerModel`: refuse a second cohort for one model and purpose. `again`: this very sum may be on record already.
   */
  claim(sum: Sum, { oncePerModel = false, again = false } = {}): void {
    const known = this.sums.find((one) => one.roundId === sum.roundId);
    if (known !== undefined) {
      if (again && JSON.stringify(known) === JSON.stringify(sum)) return;
      throw new PolicyViolation("a sum of this round is on record already", COORDINATOR);
    }
    const shown = exposed(this.sums, sum);
    if (shown.length > 0) throw new PolicyViolation(`with earlier sums this one shows ${shown.slice(0, 3).join(", ")}`, COORDINATOR);
    const alike = this.sums.filter((one) => one.model === sum.model && one.purpose === sum.purpose);
    if (oncePerModel && alike.some((one) => one.survivors.join() !== sum.survivors.join())) {
      throw new PolicyViolation("an update of this model may be in a sum of other participants already", COORDINATOR);
    }
    this.keep({ claimed: sum });
    this.sums.push(sum);
  }

  /** The coordinator said that this round's sum came out. */
  receive(roundId: string): void {
    if (this.received.has(roundId)) return;
    this.keep({ received: roundId });
    this.received.add(roundId);
  }

  /** Whether a sum of this model and purpose with our update came out. */
  cameOut(model: string, purpose: string): boolean {
    return this.sums.some((one) => one.model === model && one.purpose === purpose && this.received.has(one.roundId));
  }

  /** Make an entry safe. Returns when it is on the disk, where there is one. */
  protected keep(_entry: MemoryEntry): void {}
}

export type MemoryEntry = { readonly claimed: Sum } | { readonly received: string };

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
