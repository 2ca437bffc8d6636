// Builds the page into dist/, which `espmedsam export --format web` copies beside the models.

import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

// What the server's page and this one have in common lies with the package, which serves it.
const page = here("../../keras_espmedsam/serve/page");

/** The icon of the server's page, and the licences of everything that the built page contains. */
const furtherFiles = {
  name: "further-files",
  generateBundle() {
    this.emitFile({ type: "asset", fileName: "icon.svg", source: readFileSync(`${page}/icon.svg`) });
    const { dependencies } = JSON.parse(readFileSync(here("package.json")));
    const texts = [`keras-espmedsam\n\n${readFileSync(here("../../LICENSE"))}`];
    for (const [name, version] of Object.entries(dependencies)) {
      const shipped = here(`node_modules/${name}/LICENSE`);
      const file = existsSync(shipped) ? shipped : here(`licenses/${name}.txt`);
      texts.push(`${name} ${version}\n\n${readFileSync(file)}`);
    }
    this.emitFile({ type: "asset", fileName: "licenses.txt", source: texts.join(`\n${"=".repeat(80)}\n\n`) });
  },
};

export default {
  base: "./",
  resolve: { alias: { "@page": page } },
  build: { target: "es2022", assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  worker: { format: "es" },
  plugins: [furtherFiles],
};
