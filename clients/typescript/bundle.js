// Writes the whole client as one file, dist/cecochat.js, and says how large it is. Fails if that is more than a page should load.
import { readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const MAX_BYTES = 30 << 10; // gzipped
const outfile = "dist/cecochat.js";

await build({
  entryPoints: ["src/index.ts"],
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022", "chrome112", "firefox116", "safari17"],
  legalComments: "none",
  outfile,
});
const bytes = gzipSync(await readFile(outfile), { level: 9 }).length;
console.log(`${outfile}: ${bytes} bytes gzipped, of at most ${MAX_BYTES}`);
if (bytes > MAX_BYTES) process.exit(1);
