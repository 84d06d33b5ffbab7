import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

export default defineConfig({
  plugins: [react()],
  // The service puts the path that it is served under in front of the files that the page begins with.
  base: "./",
  // The service puts the nonce of each answer in the place of this word; see bridge/service/dashboard.py.
  html: { cspNonce: "kfbridge-style-nonce" },
  build: {
    outDir: "../service/web",
    emptyOutDir: true,
    // The policy of the service takes no data: addresses.
    assetsInlineLimit: 0,
    manifest: "manifest.json",
    target: "es2022",
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 800,
  },
  server: { proxy: { "/api": process.env.KFBRIDGE_URL ?? "http://127.0.0.1:8700" } },
  test: { environment: "node", include: ["src/**/*.test.ts"] },
});
