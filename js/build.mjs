// Bundles every entry of src/widgets into ../steerwidgets/static, one self-contained file each:
// notebook hosts import the text from a blob URL, so there are no chunks and no relative imports.
// `node build.mjs token_heatmap` builds that one only; with --watch, again whenever a source changes.
import { readdir, readFile, writeFile } from "node:fs/promises";
import { basename, dirname, join, parse } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { context } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const MOST = { raw: 120 * 1024, gzip: 40 * 1024 }; // every widget instance carries its bundle in its state

const watching = process.argv.includes("--watch");
const named = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const entries = (await readdir(join(here, "src/widgets"))).filter(
  (file) => /\.tsx?$/.test(file) && (!named.length || named.includes(parse(file).name)),
);

/** Prints how large the bundles are; one that is over the budget fails the build. */
const budget = {
  name: "budget",
  setup(bundling) {
    bundling.onEnd(async ({ metafile }) => {
      for (const path of Object.keys(metafile?.outputs ?? {}).sort())
        if (path.endsWith(".js")) weigh(basename(path), await readFile(join(here, path)));
    });
  },
};

function weigh(name, bundle) {
  const sizes = { raw: bundle.length, gzip: gzipSync(bundle, { level: 9 }).length };
  const shown = (bytes) => `${(bytes / 1024).toFixed(1)} KB`;
  console.log(`${name}  ${shown(sizes.raw)}, gzip ${shown(sizes.gzip)}`);
  for (const kind of Object.keys(MOST)) {
    if (sizes[kind] <= MOST[kind]) continue;
    console.error(`${name} is over ${shown(MOST[kind])} ${kind}.`);
    process.exitCode = 1;
  }
}

/** The licences of what is bundled ask to travel with every copy. */
async function writeLicences() {
  const lock = JSON.parse(await readFile(join(here, "package-lock.json"), "utf8"));
  const paths = Object.keys(lock.packages).filter((path) => path && !lock.packages[path].dev);
  const told = paths.sort().map(async (path) => {
    const licence = await readFile(join(here, path, "LICENSE"), "utf8");
    return `${path.replace("node_modules/", "")}\n\n${licence.trim()}\n`;
  });
  const text = [
    "The bundles here contain, besides steerwidgets itself:\n",
    ...(await Promise.all(told)),
  ].join("\n\n");
  await writeFile(join(here, "../steerwidgets/static/LICENCES.txt"), text);
}

await writeLicences();
const bundler = await context({
  absWorkingDir: here,
  entryPoints: entries.map((file) => `src/widgets/${file}`),
  outdir: join(here, "../steerwidgets/static"),
  bundle: true,
  splitting: false,
  format: "esm",
  minify: true,
  // The browsers: nested CSS is flattened for them.
  target: ["es2022", "chrome111", "firefox115", "safari16.4"],
  charset: "utf8",
  legalComments: "none",
  define: { "define.amd": "false" }, // or UMD dependencies register with VS Code's AMD loader
  metafile: true,
  logLevel: watching ? "info" : "warning",
  plugins: [budget],
});
if (watching) await bundler.watch();
else {
  await bundler.rebuild();
  await bundler.dispose();
}
