// Builds the app into web/dist: one script and one style sheet for each page,
// named after what they hold, packed for browsers that take that, and the
// pages that name them.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdir, readFile, rm, writeFile, readdir } from "node:fs/promises";
import { basename, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const here = fileURLToPath(new URL(".", import.meta.url));
const dist = join(here, "..", "dist");
const budget = 120 * 1024; // bytes of the app's script, gzipped

const pages = [
  { page: "index.html", entry: "src/main.tsx" },
  { page: "admin.html", entry: "src/admin/main.tsx" },
];

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

async function bundle(entry) {
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
    alias: { "@parley/client": join(here, "../sdk/src/index.ts") },
    define: { "process.env.NODE_ENV": '"production"' },
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
for (const { page, entry } of pages) {
  const { js, css } = await bundle(entry);
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
