import assert from "node:assert/strict";
import { test } from "node:test";
import { endpoints } from "./document.ts";
import type { JsonObject } from "./json.ts";

const CANCEL = { post: {} };

function document(properties: JsonObject, more: JsonObject = {}): JsonObject {
  return {
    paths: { "/predictions": { post: {} }, "/predictions/{prediction_id}/cancel": CANCEL },
    components: {
      schemas: {
        Input: { type: "object", properties, required: ["a"] },
        Output: { type: "string" },
        size: { enum: ["s", "m"], type: "string", title: "size", description: "An enumeration." },
        ...more,
      },
    },
  };
}

function kinds(properties: JsonObject): string[][] {
  return (endpoints(document(properties))[0]?.fields ?? []).map(({ name, kind, type }) => [name, kind, type]);
}

test("each type has its editor", () => {
  const found = kinds({
    a: { type: "string" },
    b: { type: "integer" },
    c: { type: "number" },
    d: { type: "boolean" },
    e: { allOf: [{ $ref: "#/components/schemas/size" }] },
    f: { type: "string", format: "uri" },
    g: { type: "array", items: { type: "string", format: "uri" } },
    h: { type: "array", items: { type: "string" } },
    i: { type: "object" },
    j: { anyOf: [{ type: "string" }, { type: "number" }] },
    k: { type: "string", format: "password", "x-cog-secret": true },
    l: {},
  });
  assert.deepEqual(found, [
    ["a", "text", "text"],
    ["b", "integer", "integer"],
    ["c", "number", "number"],
    ["d", "boolean", "boolean"],
    ["e", "choice", "choice"],
    ["f", "file", "file"],
    ["g", "files", "list of files"],
    ["h", "json", "list of texts"],
    ["i", "json", "object"],
    ["j", "json", "text or number"],
    ["k", "secret", "secret"],
    ["l", "json", "any value"],
  ]);
});

test("fields are in the model's order, with what is said of them", () => {
  const [endpoint] = endpoints(
    document({
      z: { type: "integer", minimum: 1, maximum: 50, default: 20, "x-order": 1, deprecated: true },
      a: { type: "string", maxLength: 1, pattern: "^a", description: "First", "x-order": 0 },
      e: { allOf: [{ $ref: "#/components/schemas/size" }], default: "s", "x-order": 2 },
    }),
  );
  const [a, z, e] = endpoint?.fields ?? [];
  assert.deepEqual([a?.name, a?.required, a?.description], ["a", true, "First"]);
  assert.deepEqual(a?.rules, ["at most 1 character", "matches ^a"]);
  assert.deepEqual([z?.name, z?.required, z?.deprecated, z?.default], ["z", false, true, 20]);
  assert.deepEqual(z?.rules, ["1 to 50"]);
  assert.deepEqual([e?.choices, e?.default, e?.description], [["s", "m"], "s", ""]);
});

test("trainings, streams and cancels are as the document has them", () => {
  const plain = document({});
  assert.deepEqual(
    endpoints(plain).map(({ path, streams, cancels }) => [path, streams, cancels]),
    [["/predictions", false, true]],
  );
  const both: JsonObject = document({}, { TrainingInput: { properties: { n: { type: "integer" } } } });
  both.paths = { "/predictions": { post: { "x-cog-streaming": true } }, "/trainings": { post: {} } };
  const found = endpoints(both);
  assert.deepEqual(
    found.map(({ path, streams, cancels, fields }) => [path, streams, cancels, fields.length]),
    [
      ["/trainings", false, false, 1],
      ["/predictions", true, false, 0],
    ],
  );
});

test("any document is survived", () => {
  for (const odd of [
    {},
    { paths: [], components: 3 },
    { paths: { "/predictions": { post: 3 } }, components: { schemas: { Input: [] } } },
    document({ a: { $ref: "#/components/schemas/loop" }, b: null, c: { items: 3, type: "array", enum: [] } }, {
      loop: { allOf: [{ $ref: "#/components/schemas/loop" }] },
    }),
  ] as JsonObject[]) {
    for (const endpoint of endpoints(odd)) assert.ok(Array.isArray(endpoint.fields));
  }
});
