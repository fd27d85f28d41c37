/** JSON values, and how they are shown. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
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

/** A value whose long texts are cut, so that a page can show it: files are megabytes of base64. */
export function abridged(value: Json, longest = 600): Json {
  if (typeof value === "string") {
    if (value.length <= longest) return value;
    const kept = value.startsWith("data:") ? 60 : longest;
    return `${value.slice(0, kept)}… (${(value.length - kept).toLocaleString("en")} more characters)`;
  }
  if (Array.isArray(value)) return value.map((item) => abridged(item, longest));
  if (isObject(value)) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, abridged(item, longest)]));
  }
  return value;
}

/** About how much memory a value takes; stops counting at `limit`. */
export function weight(value: Json | undefined, limit = Number.POSITIVE_INFINITY): number {
  if (typeof value === "string") return value.length + 16;
  if (typeof value !== "object" || value === null) return 16;
  let sum = 16;
  for (const [key, item] of Object.entries(value)) {
    sum += key.length + weight(item, limit - sum);
    if (sum >= limit) break;
  }
  return sum;
}
