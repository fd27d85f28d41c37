import assert from "node:assert/strict";
import { test } from "node:test";
import { accepts, blob, bytesIn, fileName, mediumAt, size, splitDataUrl, textIn } from "./files.ts";
import { Last, Tail } from "./growing.ts";
import { abridged, type Json, pretty, weight } from "./json.ts";
import { EventParser } from "./sse.ts";
import { duration, encoded, plain } from "./text.ts";

test("events are whole however they arrive", () => {
  const text = 'event: output\r\ndata: {"a":\ndata: 1}\n\n: comment\n\nid: 3\ndata:x\r\r';
  for (const length of [1, 2, 3, 100]) {
    const parser = new EventParser();
    const events = [];
    for (let at = 0; at < text.length; at += length) events.push(...parser.push(text.slice(at, at + length)));
    events.push(...parser.push("\n"));
    assert.deepEqual(events, [
      { name: "output", data: '{"a":\n1}' },
      { name: "message", data: "x" },
    ]);
  }
});

test("data URLs say what they are", () => {
  const url = splitDataUrl("data:audio/mp4;name=a%20b.m4a;base64,AAAA");
  assert.ok(url);
  assert.deepEqual([url.type, url.name, url.isBase64, bytesIn(url)], ["audio/mp4", "a b.m4a", true, 3]);
  assert.equal(fileName(url, "output"), "a b.m4a");
  const bare = splitDataUrl("data:image/jpeg;base64,AA==");
  assert.ok(bare);
  assert.deepEqual([fileName(bare, "output"), bytesIn(bare)], ["output.jpg", 1]);
  assert.equal(splitDataUrl("https://x"), undefined);
  assert.equal(splitDataUrl("data:x"), undefined);
});

test("data URLs that are broken are text, or nothing", () => {
  const cases: [string, string | undefined][] = [
    ["data:text/plain;base64,!!!!", undefined],
    ["data:text/plain;base64,A", undefined],
    ["data:text/plain;base64,aGVs bG8%3D", "hello"],
    ["data:text/plain;base64,aGVsbG8=", "hello"],
    ["data:text/plain,%E0%A4%A", "\ufffd%A"],
    ["data:text/plain,100%", "100%"],
    ["data:text/plain,%c3%a9%zz\u{1f600}", "é%zz\u{1f600}"],
    [`data:text/plain;base64,${btoa("x".repeat(1000))}`, `${"x".repeat(50)}…`],
    [`data:text/plain,${"x".repeat(1000)}`, `${"x".repeat(50)}…`],
    ["data:;;;,", ""],
  ];
  for (const [text, expected] of cases) {
    const url = splitDataUrl(text);
    assert.ok(url);
    assert.equal(textIn(url, 50), expected, text);
    assert.equal(blob(url) === undefined, expected === undefined, text);
  }
});

test("what a field takes is checked for dropped files", () => {
  const png = { name: "A.PNG", type: "image/png" };
  for (const accept of ["", "image/*", "image/png", ".png", "audio/*, .PNG", "*/*"]) {
    assert.ok(accepts(accept, png), accept);
  }
  for (const accept of ["audio/*", ".jpg", "image/jpeg"]) assert.ok(!accepts(accept, png), accept);
});

test("small texts", () => {
  assert.equal(plain("\u001b[1;31mred\u001b[0m \u001b]0;title\u0007x"), "red x");
  assert.deepEqual([duration(3.2), duration(1234), duration(12_345), duration(65_000)], ["3 ms", "1.23 s", "12.3 s", "1 min 5 s"]);
  assert.deepEqual([size(999), size(1500), size(16 << 20)], ["999 bytes", "1.5 KB", "17 MB"]);
  assert.equal(mediumAt("https://x/y.webm?sig=1"), "video");
  for (const end of ["", ".constructor", ".__proto__", ".toString"]) assert.equal(mediumAt(`https://x/y${end}`), "other");
  assert.equal(encoded("a/\ud800\u{1f600}"), "a%2F%EF%BF%BD%F0%9F%98%80");
});

test("what grows has an end", () => {
  const tail = new Tail(10);
  for (let at = 0; at < 1000; at += 1) tail.add(String(at % 10));
  assert.ok(tail.text.length <= 20);
  assert.equal(tail.text.length + tail.dropped, 1000);
  assert.ok(tail.text.endsWith("789"));
  tail.set("new");
  assert.deepEqual([tail.text, tail.dropped], ["new", 0]);
  const last = new Last<string>({ items: 10, size: 1000 }, (item) => item.length);
  for (let at = 0; at < 1000; at += 1) last.add(String(at));
  assert.ok(last.items.length <= 20);
  assert.equal(last.items.length + last.dropped, 1000);
  assert.equal(last.items.at(-1), "999");
  for (let at = 0; at < 100; at += 1) last.add("x".repeat(300));
  assert.ok(last.items.join("").length <= 1300);
});

test("long texts are cut where they are shown", () => {
  assert.equal(abridged("x".repeat(700)), `${"x".repeat(600)}… (100 more characters)`);
  assert.deepEqual(abridged({ a: [1, null, "y"] }), { a: [1, null, "y"] });
  let deep: Json = "end";
  for (let depth = 0; depth < 100_000; depth += 1) deep = depth % 2 ? [deep] : { deep };
  assert.ok(pretty(abridged(deep)).includes("more inside"));
  assert.ok(weight(deep) < 10_000);
  assert.ok(weight({ a: "x".repeat(100) }) > 100);
  assert.ok(weight(Array.from({ length: 1000 }, () => "x".repeat(1000)), 5000) < 10_000);
});
