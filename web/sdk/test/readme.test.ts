// What the README shows is true: its code has right types, and its first
// example does what it says.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { build } from "esbuild";
import { World } from "./kit.js";
import { token } from "./server.js";

const here = process.cwd(); // build.mjs sees to it that this is the package
const blocks = [...readFileSync("README.md", "utf8").matchAll(/```(tsx?)\n([^]*?)```/g)].map(([, kind, code]) => ({ kind: kind!, code: code! }));

test("its types", () => {
  const dir = join(here, "dist", "readme");
  rmSync(dir, { recursive: true, force: true });
  mkdirSync(dir, { recursive: true });
  assert.ok(blocks.length >= 5);
  blocks.forEach(({ kind, code }, i) => writeFileSync(join(dir, `block${i}.${kind}`), code));
  // As much of React as is used.
  writeFileSync(join(dir, "react.d.ts"), `declare module "react" {
  export function useState<T>(first: T): [T, (next: T) => void];
  export function useEffect(f: () => () => void, deps: unknown[]): void;
}`);
  writeFileSync(join(dir, "tsconfig.json"), JSON.stringify({ extends: "../../tsconfig.json", compilerOptions: { jsx: "preserve", types: [], noUnusedLocals: false }, include: ["."] }));
  const { status, stdout } = spawnSync("npx", ["tsc", "--noEmit", "-p", dir], { encoding: "utf8" });
  assert.equal(status, 0, stdout);
});

test("its minute", async (t) => {
  const world = await World.start(t);
  const proxy = await world.proxy();
  const backend = createServer((_, a) => a.end(token("alice")));
  await new Promise<void>((resolve) => backend.listen(0, "127.0.0.1", resolve));
  t.after(() => new Promise((resolve) => backend.close(resolve)));
  const code = blocks[0]!.code
    .replace("https://chat.example.com", proxy.url)
    .replace('"/my-backend', `"http://127.0.0.1:${(backend.address() as AddressInfo).port}/my-backend`);
  const file = join(here, "dist", "test", "minute.mjs");
  const end = `
const last = new Promise((resolve) => client.on("message", (m) => m.content === "bye" && resolve()));
await client.sendMessage("lunch", "bye");
await last;
await client.close();`;
  await build({ stdin: { contents: code + end, loader: "ts", resolveDir: here }, outfile: file, bundle: true, format: "esm", platform: "neutral",
    external: ["mqtt"], conditions: ["source"], logLevel: "error" });
  const out = await new Promise<string>((resolve) => {
    const lines: string[] = [];
    const log = console.log;
    console.log = (line) => void lines.push(String(line));
    void import(file).finally(() => {
      console.log = log;
      resolve(lines.join("\n"));
    });
  });
  assert.match(out, /^committed as [0-9a-f-]{36}, number 3$/m);
  assert.match(out, /^alice: Hungry\?$/m);
  assert.match(out, /^online$/m);
});
