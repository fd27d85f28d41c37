// Builds the page into dist/, which is committed: `cog` has it in its binary, and is built without node.
//
//   node build.mjs            writes dist/
//   node build.mjs --check    writes nothing; fails if dist/ is not what the sources give
//   node build.mjs --tests    bundles the tests of src/ into build/

import { readFile, readdir, mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const root = dirname(fileURLToPath(import.meta.url));
const dist = join(root, "dist");
const common = {
  absWorkingDir: root,
  bundle: true,
  format: "esm",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  charset: "utf8",
  logLevel: "warning",
};

async function page() {
  const { outputFiles } = await esbuild.build({
    ...common,
    entryPoints: { app: "src/main.tsx", worker: "src/worker.ts", style: "src/style/index.css" },
    outdir: dist,
    minify: true,
    legalComments: "none",
    write: false,
  });
  const files = new Map(outputFiles.map((file) => [file.path.slice(dist.length + 1), Buffer.from(file.contents)]));
  files.set("app.css", files.get("style.css"));
  files.delete("style.css");
  files.set("index.html", await readFile(join(root, "src/index.html")));
  return files;
}

async function check(files) {
  const found = await readdir(dist).catch(() => []);
  const stale = found.filter((name) => !files.has(name));
  for (const [name, content] of files) {
    const written = await readFile(join(dist, name)).catch(() => Buffer.alloc(0));
    if (!written.equals(content)) stale.push(name);
  }
  if (stale.length > 0) {
    console.error(`playground/dist is not what its sources give (${stale.join(", ")}): run \`make playground\``);
    process.exit(1);
  }
}

async function tests() {
  const names = (await readdir(join(root, "src"), { recursive: true })).filter((name) => name.endsWith(".test.ts"));
  await rm(join(root, "build"), { recursive: true, force: true });
  await esbuild.build({
    ...common,
    entryPoints: names.map((name) => join("src", name)),
    outdir: join(root, "build"),
    outExtension: { ".js": ".mjs" },
    platform: "node",
    external: ["node:*"],
  });
}

const [task] = process.argv.slice(2);
if (task === "--tests") {
  await tests();
} else {
  const files = await page();
  if (task === "--check") {
    await check(files);
  } else {
    await rm(dist, { recursive: true, force: true });
    await mkdir(dist);
    for (const [name, content] of files) await writeFile(join(dist, name), content);
  }
}
