/** Values as literals that shells, Python and JavaScript read, whatever the values are: strangers choose them. */

import { isObject, type Json } from "./json.ts";

/** A file that is read where the code runs. */
export class FileOf {
  constructor(
    readonly name: string,
    readonly type: string,
  ) {}
}

/** A value with some files in place of their data URLs. */
export type Tree = null | boolean | number | string | FileOf | Tree[] | Map<string, Tree>;

/** What languages have in different ways. */
export interface Syntax {
  indent: string;
  none: string;
  yes: string;
  no: string;
  key: (name: string) => string;
  file: (file: FileOf) => string;
}

/** Nobody sees these, and some of them turn other text around: code that is looked through before it is run has none. */
const UNSEEN = /[\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** Text in double quotes, as JSON, Python and JavaScript have it. */
export function quoted(text: string): string {
  const escape = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return JSON.stringify(text).replace(UNSEEN, escape);
}

/** Text as one word of a shell. A terminal takes control characters for keys that are pressed: there are none in it. */
export function word(text: string): string {
  return shellText(text.replace(CONTROL, "_"));
}

/** The same for text that is longer than a line. A shell at a terminal looks for `!` in each line, in quotes or not. */
export function shellText(text: string): string {
  return `'${text.replaceAll("'", `'\\''`).replaceAll("!", `'\\!'`)}'`;
}

/** A value on several lines. */
export function literal(value: Tree, syntax: Syntax, indent = ""): string {
  const inner = indent + syntax.indent;
  const lines = (open: string, items: string[], close: string) =>
    items.length === 0 ? open + close : `${open}\n${items.map((item) => inner + item).join(",\n")}\n${indent}${close}`;
  if (typeof value === "string") return quoted(value);
  if (value instanceof FileOf) return syntax.file(value);
  if (Array.isArray(value)) return lines("[", value.map((item) => literal(item, syntax, inner)), "]");
  if (value instanceof Map) {
    const entries = [...value].map(([name, item]) => `${syntax.key(name)}: ${literal(item, syntax, inner)}`);
    return lines("{", entries, "}");
  }
  if (typeof value === "boolean") return value ? syntax.yes : syntax.no;
  // JSON has no other numbers.
  return typeof value === "number" && Number.isFinite(value) ? JSON.stringify(value) : syntax.none;
}

/** A value as a tree; `file` says which texts are files. */
export function tree(value: Json, file: (text: string) => FileOf | undefined): Tree {
  if (typeof value === "string") return file(value) ?? value;
  if (Array.isArray(value)) return value.map((item) => tree(item, file));
  if (isObject(value)) return new Map(Object.entries(value).map(([name, item]) => [name, tree(item, file)]));
  return value;
}
