// Builds the app into web/dist, or the folder that is named: one script and one style sheet for each page,
// named after what they hold, packed for browsers that take that, and the
// pages that name them.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdir, readFile, rm, writeFile, readdir } from "node:fs/promises";
import { basename, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const here = fileURLToPath(new URL(".", import.meta.url));
const dist = process.argv[2] ? resolve(process.argv[2]) : join(here, "..", "dist");
const budget = 120_000; // bytes of a page's script, gzipped

const pages = [
  { page: "index.html", entry: "src/main.tsx", mqtt: true },
  { page: "admin.html", entry: "src/admin/main.tsx" },
];

// The client library from its sources, and MQTT.js from its own, with what it
// needs of Node from packages that it depends on. The slash names those.
const modules = join(here, "..", "node_modules");
const alias = {
  "@parley/client": join(here, "../sdk/src/index.ts"),
  mqtt: join(here, "src/mqtt/index.js"),
  "mqtt/lib/client": join(modules, "mqtt/build/lib/client.js"),
  "mqtt/lib/connect/ws": join(modules, "mqtt/build/lib/connect/ws.js"),
  debug: join(here, "src/mqtt/none.cjs"),
  "worker-timers": join(here, "src/mqtt/none.cjs"),
  ws: join(here, "src/mqtt/none.cjs"),
  process: join(here, "src/mqtt/process.js"),
  buffer: "buffer/",
  events: "events/",
  string_decoder: "string_decoder/",
};

const sizes = [];

/** Writes a file, and its packed twins, and answers the path it is served at. */
async function asset(name, body) {
  const hash = createHash("sha256").update(body).digest("hex").slice(0, 10);
  const ext = extname(name);
  const path = `assets/${basename(name, ext)}-${hash}${ext}`;
  await write(path, body);
  return `/${path}`;
}

async function write(path, body) {
  const file = join(dist, path);
  await writeFile(file, body);
  const gz = gzipSync(body, { level: 9 });
  const br = brotliCompressSync(body, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
  if (gz.length < body.length * 0.9) {
    await writeFile(`${file}.gz`, gz);
    await writeFile(`${file}.br`, br);
  }
  sizes.push({ path, plain: body.length, gz: gz.length, br: br.length });
}

async function bundle({ entry, mqtt }) {
  const result = await build({
    absWorkingDir: here,
    entryPoints: [entry],
    bundle: true,
    write: false,
    outdir: "out",
    format: "esm",
    target: ["es2022"],
    minify: true,
    legalComments: "none",
    jsx: "automatic",
    jsxImportSource: "preact",
    mainFields: ["browser", "module", "main"],
    alias,
    inject: mqtt ? [join(here, "src/mqtt/process.js")] : [],
    define: { "process.env.NODE_ENV": '"production"', global: "globalThis" },
    logLevel: "warning",
  });
  const named = (ext) => result.outputFiles.find((f) => f.path.endsWith(ext))?.contents;
  return { js: named(".js"), css: named(".css") };
}

async function clean() {
  await mkdir(join(dist, "assets"), { recursive: true });
  for (const name of await readdir(dist)) {
    if (name !== "placeholder.html" && name !== "assets") await rm(join(dist, name), { recursive: true });
  }
  for (const name of await readdir(join(dist, "assets"))) await rm(join(dist, "assets", name));
}

await clean();
const statics = {};
for (const name of await readdir(join(here, "static"))) {
  statics[name] = await asset(name, await readFile(join(here, "static", name)));
}
for (const p of pages) {
  const { js, css } = await bundle(p);
  const { page } = p;
  const name = page.replace(".html", "");
  const links = { js: await asset(`${name}.js`, js), css: await asset(`${name}.css`, css), ...statics };
  const template = await readFile(join(here, "src", page), "utf8");
  const html = template.replace(/\{\{([\w.-]+)\}\}/g, (_, key) => {
    if (!links[key]) throw new Error(`${page} names ${key}, which is not there`);
    return links[key];
  });
  await write(page, Buffer.from(html));
}

const kib = (n) => (n / 1024).toFixed(1).padStart(7);
for (const s of sizes) console.log(`${kib(s.plain)} KiB ${kib(s.gz)} gz ${kib(s.br)} br  ${s.path}`);
const big = sizes.find((s) => s.path.endsWith(".js") && s.gz > budget);
if (big) throw new Error(`${big.path} has ${big.gz} bytes gzipped, more than ${budget}`);
