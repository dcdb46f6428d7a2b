// Builds dist/: one file of code, and the types. With "test" it builds the
// tests into dist/test/ as well, one file each, and runs them, unless
// --no-run follows; other arguments go to node. PARLEY_BIN says where the server's program is.
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const at = (...parts) => join(here, ...parts);
const common = {
  absWorkingDir: here, bundle: true, format: "esm", target: "es2022", platform: "neutral",
  external: ["mqtt"], logLevel: "warning", sourcemap: true,
};

function run(program, args) {
  const { status } = spawnSync(program, args, { cwd: here, stdio: "inherit" });
  if (status !== 0) process.exit(status ?? 1);
}

if (process.argv[2] === "test") {
  rmSync(at("dist", "test"), { recursive: true, force: true });
  const files = readdirSync(at("test")).filter((f) => f.endsWith(".test.ts"));
  await build({ ...common, entryPoints: files.map((f) => at("test", f)), outdir: at("dist", "test"),
    external: ["mqtt", "fake-indexeddb", "esbuild", "node:*"] });
  const built = files.map((f) => at("dist", "test", f.replace(/ts$/, "js")));
  if (process.argv[3] === "--no-run") process.exit();
  run(process.execPath, ["--enable-source-maps", "--test", "--test-concurrency=1", ...process.argv.slice(3), ...built]);
} else {
  await build({ ...common, entryPoints: [at("src", "index.ts")], outfile: at("dist", "index.js"), minify: true });
  const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin", "tsc");
  run(process.execPath, [tsc, "-p", at("tsconfig.build.json")]);
}
