import assert from "node:assert/strict";
import { test } from "node:test";
import type { JsonObject } from "./json.ts";
import { fromPython } from "./pattern.ts";
import { problems } from "./validate.ts";

const document: JsonObject = { components: { schemas: { size: { enum: ["s", 2], type: "string" } } } };

function said(properties: JsonObject, input: JsonObject, required: string[] = []): string[] {
  const endpoint = { input: { properties, required } };
  return problems(document, endpoint, input).map(({ path, message }) => `${path.join("/")} ${message}`);
}

test("what is required has to be there, and to be something", () => {
  const properties = { a: { type: "string" }, b: { type: "array", items: { type: "string" } }, c: { type: "string" } };
  assert.deepEqual(said(properties, {}, ["a"]), ["a is required"]);
  assert.deepEqual(said(properties, { a: "", b: [], c: "" }, ["a", "b"]), ["a must not be empty", "b must not be empty"]);
  assert.deepEqual(said(properties, { a: "x", b: ["y"] }, ["a", "b"]), []);
  assert.deepEqual(said(properties, { d: 1 }), ["d is not an input of this model"]);
});

test("inputs may be named as what every object has", () => {
  const names = ["constructor", "toString", "valueOf", "hasOwnProperty", "__proto__"];
  for (const name of names) {
    const input = Object.fromEntries([[name, 1]]);
    assert.deepEqual(said({}, {}, [name]), [`${name} is required`]);
    assert.deepEqual(said({}, input), [`${name} is not an input of this model`]);
    assert.deepEqual(said(Object.fromEntries([[name, { type: "string" }]]), input), [`${name} expected string, got number`]);
    assert.deepEqual(said({ x: { $ref: `#/components/schemas/${name}` } }, { x: 1 }), []);
  }
  assert.deepEqual(said({ x: { enum: [{ toString: 1 }] } }, { x: 1 }), ['x must be one of: {"toString":1}']);
});

test("types, bounds, lengths, choices", () => {
  const cases: [JsonObject, JsonObject["x"], string[]][] = [
    [{ type: "integer" }, 1, []],
    [{ type: "integer" }, 1.5, ["x expected integer, got number"]],
    [{ type: "integer" }, "1", ["x expected integer, got string"]],
    [{ type: "boolean" }, "true", ["x expected boolean, got string"]],
    [{ type: "object" }, [], ["x expected object, got array"]],
    [{ type: "number", minimum: 1, maximum: 2 }, 0.5, ["x must be at least 1"]],
    [{ type: "number", minimum: 1, maximum: 2 }, 3, ["x must be at most 2"]],
    [{ type: "string", maxLength: 2 }, "😀😀", []],
    [{ type: "string", maxLength: 2 }, "abc", ["x must have at most 2 characters"]],
    [{ type: "string", minLength: 2 }, "a", ["x must have at least 2 characters"]],
    [{ type: "string", pattern: "^(?P<y>a)" }, "b", ["x must match ^(?P<y>a)"]],
    [{ type: "string", nullable: true }, null, ["x must not be null; leave it out to use its default"]],
    [{ type: "object" }, { any: null }, []],
    [{ allOf: [{ $ref: "#/components/schemas/size" }] }, "m", ["x must be one of: s, 2"]],
    [{ allOf: [{ $ref: "#/components/schemas/size" }] }, 2, []],
    [{ anyOf: [{ type: "string" }, { type: "number" }] }, 1, []],
    [{ anyOf: [{ type: "string" }, { type: "number" }] }, true, ["x fits none of its types"]],
    [{ type: "array", items: { type: "integer" } }, [1, "2"], ["x/1 expected integer, got string"]],
    [{}, { anything: 1 }, []],
  ];
  for (const [schema, value, expected] of cases) {
    assert.deepEqual(said({ x: schema }, { x: value }), expected, JSON.stringify([schema, value]));
  }
});

test("Python's patterns", () => {
  const cases: [string, string, boolean | undefined][] = [
    ["^[a-z]+$", "abc", true],
    ["^[a-z]+$", "abc\n", true],
    ["\\Aab\\Z", "ab\n", false],
    ["\\Aab\\Z", "ab", true],
    ["(?P<q>['\"]).*(?P=q)", "'x'", true],
    ["(?P<q>['\"]).*(?P=q)", "'x\"", false],
    ["(?i)hello", "HeLLo", true],
    ["[]a]", "]", true],
    ["[^]a]", "]", false],
    ["[$]", "$", true],
    ["\\-", "-", true],
    ["(?x) a b", "ab", undefined],
    ["(", "x", undefined],
  ];
  for (const [pattern, text, fits] of cases) {
    assert.equal(fromPython(pattern)?.test(text), fits, `${pattern} ${text}`);
  }
});
