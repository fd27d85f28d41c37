/** A model's OpenAPI document, as far as a form needs it. */

import { isObject, type Json, type JsonObject, own } from "./json.ts";

export type Schema = JsonObject;

/** What a field is edited with. */
export type Kind = "text" | "secret" | "integer" | "number" | "boolean" | "choice" | "file" | "files" | "json";

export interface Field {
  name: string;
  kind: Kind;
  /** In words: `list of files`. */
  type: string;
  description: string;
  /** What a value must be like, in words. */
  rules: string[];
  required: boolean;
  deprecated: boolean;
  default: Json | undefined;
  choices: Json[];
  minimum: number | undefined;
  maximum: number | undefined;
  /** Kinds of files, as a browser's file picker takes them. */
  accept: string;
}

/** Something that the model does. */
export interface Endpoint {
  path: "/predictions" | "/trainings";
  noun: "prediction" | "training";
  /** Whether it can be watched while it works. */
  streams: boolean;
  cancels: boolean;
  fields: Field[];
  input: Schema;
  output: Schema;
}

/** What the document offers. Trainings come first: a document has them only where they are asked for. */
export function endpoints(document: JsonObject): Endpoint[] {
  const paths = isObject(document.paths) ? document.paths : {};
  const found: Endpoint[] = [];
  for (const [path, noun, prefix] of [
    ["/trainings", "training", "Training"],
    ["/predictions", "prediction", ""],
  ] as const) {
    const item = paths[path];
    if (!isObject(item)) continue;
    const post = isObject(item.post) ? item.post : {};
    const input = component(document, `${prefix}Input`) ?? component(document, "Input") ?? {};
    found.push({
      path,
      noun,
      streams: post["x-cog-streaming"] === true,
      cancels: Object.keys(paths).some((one) => one.startsWith(`${path}/{`) && one.endsWith("/cancel")),
      fields: fields(document, input),
      input,
      output: resolved(document, component(document, `${prefix}Output`)),
    });
  }
  return found;
}

function component(document: JsonObject, name: string): Schema | undefined {
  const components = isObject(document.components) ? document.components : {};
  const schemas = isObject(components.schemas) ? components.schemas : {};
  const found = own(schemas, name);
  return isObject(found) ? found : undefined;
}

const REFERENCE = "#/components/schemas/";

/** A schema with what it refers to. A document may refer to itself, so there is an end to it. */
export function resolved(document: JsonObject, schema: Json | undefined, depth = 0): Schema {
  if (!isObject(schema) || depth > 8) return {};
  const { $ref: reference, allOf: parts, ...own } = schema;
  let whole: Schema = {};
  const members = Array.isArray(parts) ? parts : [];
  const referred = typeof reference === "string" && reference.startsWith(REFERENCE);
  if (referred) members.push(component(document, reference.slice(REFERENCE.length)) ?? null);
  for (const member of members) {
    // What a type is called elsewhere says nothing about this field.
    const { title: _title, description: _description, ...rest } = resolved(document, member, depth + 1);
    whole = { ...whole, ...rest };
  }
  return { ...whole, ...own };
}

function fields(document: JsonObject, input: Schema): Field[] {
  const properties = isObject(input.properties) ? input.properties : {};
  const required = Array.isArray(input.required) ? input.required : [];
  const order = (schema: Json | undefined): number => {
    const place = isObject(schema) ? schema["x-order"] : undefined;
    return typeof place === "number" ? place : Number.MAX_SAFE_INTEGER;
  };
  return Object.entries(properties)
    .sort(([, one], [, other]) => order(one) - order(other))
    .map(([name, schema]) => field(document, name, schema, required.includes(name)));
}

function field(document: JsonObject, name: string, property: Json, required: boolean): Field {
  const schema = resolved(document, property);
  const items = resolved(document, schema.items);
  const accept = schema["x-cog-accept"] ?? items["x-cog-accept"];
  return {
    name,
    kind: kind(document, schema),
    type: typeName(document, schema),
    description: typeof schema.description === "string" ? schema.description : "",
    rules: rules(schema),
    required,
    deprecated: schema.deprecated === true,
    default: schema.default,
    choices: Array.isArray(schema.enum) ? schema.enum : [],
    minimum: numeric(schema.minimum),
    maximum: numeric(schema.maximum),
    accept: typeof accept === "string" ? accept : "",
  };
}

function kind(document: JsonObject, schema: Schema): Kind {
  if (Array.isArray(schema.enum) && schema.enum.length > 0) return "choice";
  switch (schema.type) {
    case "integer":
    case "number":
    case "boolean":
      return schema.type;
    case "string":
      if (schema["x-cog-secret"] === true || schema.format === "password") return "secret";
      return schema.format === "uri" ? "file" : "text";
    case "array": {
      const items = resolved(document, schema.items);
      return items.type === "string" && items.format === "uri" ? "files" : "json";
    }
    default:
      return "json";
  }
}

/** What a value is, in a few words. */
export function typeName(document: JsonObject, schema: Schema, depth = 0): string {
  if (Array.isArray(schema.enum)) return "choice";
  if (Array.isArray(schema.anyOf) && depth < 3) {
    const members = schema.anyOf.map((member) => typeName(document, resolved(document, member), depth + 1));
    return [...new Set(members)].join(" or ");
  }
  switch (schema.type) {
    case "string":
      if (schema["x-cog-secret"] === true) return "secret";
      return schema.format === "uri" ? "file" : "text";
    case "array": {
      const items = resolved(document, schema.items);
      return depth < 3 && items.type !== undefined ? `list of ${plural(typeName(document, items, depth + 1))}` : "list";
    }
    case "integer":
    case "number":
    case "boolean":
    case "object":
      return schema.type;
    default:
      return "any value";
  }
}

function plural(noun: string): string {
  return noun === "text" ? "texts" : noun.startsWith("list") ? noun.replace("list", "lists") : `${noun}s`;
}

function numeric(value: Json | undefined): number | undefined {
  return typeof value === "number" ? value : undefined;
}

function rules(schema: Schema): string[] {
  const found: string[] = [];
  const [least, most] = [numeric(schema.minimum), numeric(schema.maximum)];
  if (least !== undefined && most !== undefined) found.push(`${least} to ${most}`);
  else if (least !== undefined) found.push(`at least ${least}`);
  else if (most !== undefined) found.push(`at most ${most}`);
  const [shortest, longest] = [numeric(schema.minLength), numeric(schema.maxLength)];
  if (shortest !== undefined && longest !== undefined) found.push(`${shortest} to ${longest} characters`);
  else if (shortest !== undefined) found.push(`at least ${shortest} ${shortest === 1 ? "character" : "characters"}`);
  else if (longest !== undefined) found.push(`at most ${longest} ${longest === 1 ? "character" : "characters"}`);
  if (typeof schema.pattern === "string") found.push(`matches ${schema.pattern}`);
  const accept = schema["x-cog-accept"];
  if (typeof accept === "string") found.push(accept);
  return found;
}
