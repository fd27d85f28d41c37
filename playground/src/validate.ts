/** What an input breaks of a model's rules. The server decides; this tells sooner, and beside the field. */

import { type Endpoint, resolved, type Schema } from "./document.ts";
import { isObject, type Json, type JsonObject, own, worded } from "./json.ts";
import { fromPython } from "./pattern.ts";

export interface Problem {
  /** The field, and where in its value. */
  path: string[];
  message: string;
}

export function problems(document: JsonObject, endpoint: Pick<Endpoint, "input">, input: JsonObject): Problem[] {
  const { properties, required } = endpoint.input;
  const known = isObject(properties) ? properties : {};
  const needed = Array.isArray(required) ? required : [];
  const found: Problem[] = [];
  for (const name of needed) {
    if (typeof name !== "string") continue;
    const value = own(input, name);
    if (value === undefined) found.push({ path: [name], message: "is required" });
    else if (value === "" || (Array.isArray(value) && value.length === 0)) {
      found.push({ path: [name], message: "must not be empty" });
    }
  }
  for (const [name, value] of Object.entries(input)) {
    const schema = own(known, name);
    if (schema === undefined) found.push({ path: [name], message: "is not an input of this model" });
    else if (!found.some((problem) => problem.path[0] === name)) check(document, schema, value, [name], found, 0);
  }
  return found;
}

function check(
  document: JsonObject,
  reference: Json,
  value: Json,
  path: string[],
  found: Problem[],
  depth: number,
): void {
  const schema = resolved(document, reference);
  const say = (message: string) => void found.push({ path, message });
  if (value === null) {
    // A field that may be left out says so with `nullable`; servers take no null for it all the same.
    if (schema.type !== undefined || schema.anyOf !== undefined || schema.enum !== undefined) {
      say("must not be null; leave it out to use its default");
    }
    return;
  }
  if (Array.isArray(schema.enum)) {
    if (!schema.enum.some((choice) => choice === value)) {
      say(`must be one of: ${schema.enum.map(worded).join(", ")}`);
    }
    return;
  }
  if (Array.isArray(schema.anyOf)) {
    const fits = schema.anyOf.some((member) => {
      const broken: Problem[] = [];
      check(document, member, value, path, broken, depth);
      return broken.length === 0;
    });
    if (!fits) say("fits none of its types");
    return;
  }
  if (typeof schema.type === "string" && !isOfType(value, schema.type)) {
    say(`expected ${schema.type}, got ${typeOf(value)}`);
    return;
  }
  if (typeof value === "number") numberRules(schema, value, say);
  if (typeof value === "string") textRules(schema, value, say);
  if (Array.isArray(value) && isObject(schema.items) && depth < 8) {
    const items = schema.items;
    value.forEach((item, index) => check(document, items, item, [...path, String(index)], found, depth + 1));
  }
}

function numberRules(schema: Schema, value: number, say: (message: string) => void): void {
  if (typeof schema.minimum === "number" && value < schema.minimum) say(`must be at least ${schema.minimum}`);
  if (typeof schema.maximum === "number" && value > schema.maximum) say(`must be at most ${schema.maximum}`);
}

function textRules(schema: Schema, value: string, say: (message: string) => void): void {
  const { minLength, maxLength, pattern } = schema;
  if (typeof minLength === "number" || typeof maxLength === "number") {
    // As Python counts.
    const length = [...value].length;
    if (typeof minLength === "number" && length < minLength) say(`must have at least ${minLength} characters`);
    if (typeof maxLength === "number" && length > maxLength) say(`must have at most ${maxLength} characters`);
  }
  if (typeof pattern === "string" && fromPython(pattern)?.test(value) === false) say(`must match ${pattern}`);
}

function isOfType(value: Json, type: string): boolean {
  if (type === "integer") return typeof value === "number" && Number.isInteger(value);
  return type === typeOf(value);
}

function typeOf(value: Json): string {
  return value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
}
