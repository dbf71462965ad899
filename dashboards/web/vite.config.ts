/** How the page is built: into `dist`, which the binary embeds, and in development against a running Weir on 9347. */
import { defineConfig } from "vite";

const weir = process.env["WEIR_URL"] ?? "http://127.0.0.1:9347";

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    outDir: "dist",
    emptyOutDir: true,
    target: ["es2022", "chrome123", "firefox121", "safari17.5"],
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: { "/api": weir, "/v1": weir, "/-": weir } },
});
