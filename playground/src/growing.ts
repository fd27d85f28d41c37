/** What grows while a prediction runs, with a bound: a page that is left open must not fill the memory. */

import { type Json, weight } from "./json.ts";

/** The end of a text. */
export class Tail {
  private parts: string[] = [];
  private length = 0;
  /** Characters that were left out. */
  dropped = 0;

  constructor(private readonly most = 2 << 20) {}

  add(text: string): void {
    this.parts.push(text);
    this.length += text.length;
    if (this.length > 2 * this.most) {
      const whole = this.parts.join("");
      this.dropped += whole.length - this.most;
      this.parts = [whole.slice(-this.most)];
      this.length = this.most;
    }
  }

  /** In place of all that there was. */
  set(text: string): void {
    this.parts = [];
    this.length = 0;
    this.dropped = 0;
    this.add(text);
  }

  get text(): string {
    if (this.parts.length > 1) this.parts = [this.parts.join("")];
    return this.parts[0] ?? "";
  }
}

/** The last items of a list. */
export class Last<Item> {
  items: Item[] = [];
  dropped = 0;
  private size = 0;

  constructor(
    private readonly most: { items: number; size: number },
    private readonly sizeOf: (item: Item) => number,
  ) {}

  add(item: Item): void {
    this.items.push(item);
    this.size += this.sizeOf(item);
    // Many at once, so that a long list is not moved for each.
    if (this.items.length > 2 * this.most.items || this.size > this.most.size) {
      let keep = Math.min(this.items.length, this.most.items);
      while (keep > 1 && this.sizeOfLast(keep) > this.most.size / 2) keep = Math.floor(keep / 2);
      this.dropped += this.items.length - keep;
      this.items = this.items.slice(-keep);
      this.size = this.sizeOfLast(keep);
    }
  }

  private sizeOfLast(count: number): number {
    return this.items.slice(-count).reduce((sum, item) => sum + this.sizeOf(item), 0);
  }
}

export function chunks(): Last<Json> {
  return new Last<Json>({ items: 100_000, size: 64 << 20 }, (item) => weight(item));
}
