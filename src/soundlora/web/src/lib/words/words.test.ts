import { readdirSync, readFileSync } from 'node:fs'
import { parse } from 'svelte/compiler'
import { expect, test } from 'vitest'
import { chosen, words } from '.'
import { choosing } from './plurals'

const SOURCES = 'src'
const files = (readdirSync(SOURCES, { recursive: true }) as string[]).filter((path) => /\.(svelte|ts)$/.test(path) && !/\.test\.ts$|^lib.words./.test(path))

/** Names that are alike in all languages: of the program, of formats, and of voices and keys. */
const NAMES = /^(soundlora|OpenAPI|llms\.txt|[ABX]|)$/
/** What a program reads, not a person. */
const PROGRAM = [
  /^(Arrow|Page)(Left|Right|Up|Down|)$|^(Home|End|Enter|Escape|Files|Key|Content-Type|Authorization|Python|JavaScript|WARN|ERROR)$/,
  /^(AbortError|QuotaExceededError|application\/|text\/|audio\/)/,
  /^Key $/, // the scheme of the header
  /^input, textarea, select$|^12px 'Instrument Sans'$|^linear-gradient|^\(prefers-color-scheme/,
]
/** Code that is shown as code, and captions that are trained on. */
const DATA = ['lib/code.ts', 'lib/example.ts', 'lib/snippets.ts']

function isWords(text: string): boolean {
  const said = text.trim()
  return /\p{L}/u.test(said) && !NAMES.test(said)
}

/** Whether a literal of the code looks like words: several of them, or one that begins a sentence. */
function isSaid(text: string): boolean {
  const several = /\p{L}{2,}[,:;]? \p{Ll}{2,}/u.test(text) || /^ \p{L}+ | \p{L}+ $/u.test(text)
  return (several || /^\s*\p{Lu}\p{Ll}/u.test(text)) && !PROGRAM.some((one) => one.test(text)) && isWords(text)
}

const READ = /^(title|aria-label|aria-valuetext|placeholder|alt|label)$/

/** Text, attributes that a person reads, and literals of the code. */
function own(path: string): string[] {
  const source = readFileSync(`${SOURCES}/${path}`, 'utf8')
  const { fragment, instance, module } = parse(path.endsWith('.svelte') ? source : `<script lang="ts">${source}</script>`, { modern: true })
  const found: string[] = []
  const visit = (node: any, attribute: string): void => {
    if (!node || typeof node !== 'object') return
    if (Array.isArray(node)) return node.forEach((one) => visit(one, attribute))
    // Types and imports are read by no one.
    if (/^(TS\w*(Type|Annotation|Signature|Declaration|Instantiation)|ImportDeclaration)$/.test(node.type)) return
    if (node.type === 'Text' && (!attribute || READ.test(attribute)) && isWords(node.data)) found.push(node.data.trim())
    const literal = node.type === 'TemplateElement' ? node.value.cooked : node.type === 'Literal' ? node.value : ''
    if (typeof literal === 'string' && isSaid(literal)) found.push(literal)
    const inside = /^(Attribute|StyleDirective|ClassDirective)$/.test(node.type) ? node.name : attribute
    for (const [key, value] of Object.entries(node)) if (key !== 'metadata' && key !== 'loc') visit(value, inside)
  }
  ;[fragment, instance?.content, module?.content].forEach((part) => visit(part, ''))
  return found
}

// Reading all sources takes long on a busy machine.
const PATIENCE = 120_000

test('no screen has words of its own', { timeout: PATIENCE }, () => {
  expect(files.length).toBeGreaterThan(60)
  const read = files.map((path) => path.replaceAll('\\', '/')).filter((path) => !DATA.includes(path))
  expect(Object.fromEntries(read.map((path) => [path, own(path)] as const).filter(([, found]) => found.length))).toEqual({})
})

test('every word of the catalogue is on a screen', { timeout: PATIENCE }, () => {
  const all = files.map((path) => readFileSync(`${SOURCES}/${path}`, 'utf8')).join('\n')
  // By a name that is worked out.
  const computed = /^(bar|modes|given|names|units|locale)\.|^captions\.(tags|sentence|phrase)$|^train\.(form|json|code)$|^grid\.(rows|columns)$/
  const unused = Object.entries(words).flatMap(([screen, entries]) =>
    Object.keys(entries).flatMap((name) => {
      const dot = `${screen}.${name}`
      return computed.test(dot) || new RegExp(`words\\.${screen}\\.${name}\\b`).test(all) ? [] : [dot]
    }),
  )
  expect(unused).toEqual([])
})

test('the first language that exists is taken, and a region is content with its language', () => {
  expect(chosen(['de-AT', 'fr'], ['en', 'fr', 'de'])).toBe('de')
  expect(chosen(['pt', 'fr-CA'], ['en', 'fr'])).toBe('fr')
  expect(chosen(['ja'], ['en', 'fr'])).toBe('en')
  expect(chosen([], ['en'])).toBe('en')
})

test('a language with more forms than two chooses among them', () => {
  const form = choosing('pl')
  const clips = (number: number) => form(number, { one: 'klip', few: 'klipy', many: 'klipów', other: 'klipa' })
  expect([1, 2, 5, 22, 0.5].map(clips)).toEqual(['klip', 'klipy', 'klipów', 'klipy', 'klipa'])
  expect(choosing('en')(2, { one: 'clip', other: 'clips' })).toBe('clips')
  expect(choosing('ja')(1, { other: 'clip' })).toBe('clip')
})
