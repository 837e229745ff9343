/** Builds the page into the folder that is named: assets with the hash of their content, and what loads them. */
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";

import { build } from "esbuild";

const [folder] = process.argv.slice(2);
if (!folder) throw new Error("name the folder to build into");

await mkdir(folder, { recursive: true });
for (const old of await readdir(folder)) await rm(join(folder, old));

const { metafile } = await build({
  absWorkingDir: import.meta.dirname,
  entryPoints: { main: "src/main.tsx", style: "src/style.css", icon: "icon.svg" },
  alias: { "@cecochat/client": "../typescript/src/index.ts" },
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022", "chrome112", "firefox116", "safari17"],
  loader: { ".svg": "copy" },
  legalComments: "none",
  charset: "utf8",
  entryNames: "[name]-[hash]",
  outdir: folder,
  metafile: true,
});

const built = Object.keys(metafile.outputs).map((path) => basename(path));
const named = (name) => built.find((each) => each.startsWith(`${name}-`));
const template = await readFile(join(import.meta.dirname, "index.html"), "utf8");
await writeFile(join(folder, "index.html"), template.replace(/\{(\w+)\}/g, (_, name) => named(name)));
