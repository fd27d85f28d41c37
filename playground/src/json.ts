/** JSON values, and how they are shown. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What an object has by a name that a stranger may have chosen: every object has a `constructor` that it was not given. */
export function own<Value>(object: Record<string, Value>, name: string): Value | undefined {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

/** A value in a line of text. `String` calls a `toString` that is in the value. */
export function worded(value: Json | undefined): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "");
}

/** Text as JSON, or nothing. */
export function parsed(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

export function pretty(value: Json | undefined): string {
  return value === undefined ? "" : JSON.stringify(value, null, 2);
}

/** Nobody looks deeper, and programs that go through it have an end to their stack. */
const DEEPEST = 200;

/** A value whose long texts are cut, so that a page can show it: files are megabytes of base64. */
export function abridged(value: Json, longest = 600, depth = 0): Json {
  if (typeof value === "string") {
    if (value.length <= longest) return value;
    const kept = value.startsWith("data:") ? 60 : longest;
    return `${value.slice(0, kept)}… (${(value.length - kept).toLocaleString("en")} more characters)`;
  }
  if (depth > DEEPEST && typeof value === "object" && value !== null) return "… (more inside)";
  if (Array.isArray(value)) return value.map((item) => abridged(item, longest, depth + 1));
  if (isObject(value)) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, abridged(item, longest, depth + 1)]));
  }
  return value;
}

/** About how much memory a value takes; stops counting at `limit`. */
export function weight(value: Json | undefined, limit = Number.POSITIVE_INFINITY, depth = 0): number {
  if (typeof value === "string") return value.length + 16;
  if (typeof value !== "object" || value === null || depth > DEEPEST) return 16;
  let sum = 16;
  for (const [key, item] of Object.entries(value)) {
    sum += key.length + weight(item, limit - sum, depth + 1);
    if (sum >= limit) break;
  }
  return sum;
}
