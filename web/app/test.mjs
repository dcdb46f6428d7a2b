// Bundles each test into dist/test and runs it with Node. With --no-run it
// only bundles them.
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const out = join(here, "dist", "test");
const tests = readdirSync(join(here, "test")).filter((f) => f.endsWith(".test.ts"));

rmSync(out, { recursive: true, force: true });
await build({
  absWorkingDir: here,
  entryPoints: tests.map((f) => join("test", f)),
  outdir: out,
  bundle: true,
  format: "esm",
  target: "node20",
  platform: "node",
  external: ["mqtt"],
  logLevel: "warning",
});
if (!process.argv.includes("--no-run")) {
  const files = tests.map((f) => join(out, f.replace(/ts$/, "js")));
  const options = process.argv.slice(2);
  process.exit(spawnSync(process.execPath, ["--test", ...options, ...files], { stdio: "inherit" }).status ?? 1);
}
