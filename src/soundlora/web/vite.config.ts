import { readFileSync } from 'node:fs'
import { svelte } from '@sveltejs/vite-plugin-svelte'
import type { Plugin } from 'vite'
import { defineConfig } from 'vitest/config'

// What is built in comes with its licence.
const BUILT_IN = ['svelte/LICENSE.md', 'wavesurfer.js/LICENSE', 'uplot/LICENSE', '@fontsource-variable/instrument-sans/LICENSE']

function licences(): Plugin {
  return {
    name: 'licences',
    generateBundle() {
      const texts = BUILT_IN.map((path) => `${path.slice(0, path.lastIndexOf('/'))}\n\n${readFileSync(`node_modules/${path}`, 'utf8').trim()}\n`)
      this.emitFile({ type: 'asset', fileName: 'licences.txt', source: texts.join(`\n${'-'.repeat(80)}\n\n`) })
    },
  }
}

// Addresses are relative, so that the page works behind a proxy that serves it under a folder.
export default defineConfig({
  base: './',
  // Short class names, and nothing of older components, keep small what a visit loads.
  plugins: [svelte({ compilerOptions: { runes: true, cssHash: ({ hash, css }) => `s${hash(css).slice(0, 4)}` } }), licences()],
  build: {
    outDir: 'dist',
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { '^/(v1|files|storage|fal-ai|api)(/|$)': 'http://127.0.0.1:8420' } },
  test: { include: ['src/**/*.test.ts'] },
})
