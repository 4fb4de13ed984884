// Bundles every entry of src/widgets into ../steerwidgets/static, one self-contained file each:
// notebook hosts import the text from a blob URL, so there are no chunks and no relative imports.
// `node build.mjs token_heatmap` builds that one only.
import { readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, parse } from "node:path";
import { fileURLToPath } from "node:url";
import { build, context } from "esbuild";
import { minify } from "terser";

const here = dirname(fileURLToPath(import.meta.url));
const outdir = join(here, "../steerwidgets/static");
const MAX_BYTES = 60 * 1024; // every widget instance carries its bundle in its state

// The classic transform: without a "children:" for every element a bundle is 1.3 KB smaller.
const jsx = {
  tsconfigRaw: {
    compilerOptions: { jsx: "react", jsxFactory: "h", jsxFragmentFactory: "Fragment" },
  },
  inject: ["src/jsx.ts"],
};

const optionsFor = (file) => ({
  absWorkingDir: here,
  entryPoints: [`src/widgets/${file}`],
  outdir,
  bundle: true,
  format: "esm",
  minify: true,
  // The browsers: nested CSS is flattened for them.
  target: ["es2022", "chrome111", "firefox115", "safari16.4"],
  charset: "utf8",
  legalComments: "none",
  define: { "define.amd": "false" }, // or UMD dependencies register with VS Code's AMD loader
  splitting: false,
  logLevel: "warning",
  ...(file.endsWith(".tsx") ? jsx : {}),
});

// What esbuild leaves: unused arguments, single-use functions, repeated property reads. 2 % of a bundle.
const shorter = {
  module: true,
  ecma: 2020,
  compress: {
    ecma: 2020,
    passes: 4,
    keep_fargs: false,
    pure_getters: true,
    hoist_funs: true,
    unsafe: true,
    unsafe_arrows: true,
  },
  format: { comments: false },
};

async function finish(file) {
  const name = `${parse(file).name}.js`;
  const path = join(outdir, name);
  const { code } = await minify(await readFile(path, "utf8"), shorter);
  const size = Buffer.byteLength(code);
  await writeFile(path, code);
  console.log(`${name}  ${(size / 1024).toFixed(1)} KB`);
  if (size > MAX_BYTES) {
    console.error(`${name} is over 60 KB minified.`);
    process.exitCode = 1;
  }
}

const named = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const files = (await readdir(join(here, "src/widgets"))).filter(
  (file) => /\.tsx?$/.test(file) && (!named.length || named.includes(parse(file).name)),
);
for (const file of files.sort()) {
  if (process.argv.includes("--watch")) {
    await (await context({ ...optionsFor(file), logLevel: "info" })).watch();
  } else {
    await build(optionsFor(file));
    await finish(file);
  }
}
