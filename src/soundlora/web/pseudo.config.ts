// The page in a language that does not exist, ⟦each of its words in brackets⟧: what is bare on a screen is not from the
// catalogue. tests/page/test_words.py builds it.

import type { Plugin } from 'vite'
import { mergeConfig } from 'vitest/config'
import page from './vite.config'

const CHOICE = 'LANGUAGES[language]!'
const BRACKETS = `
function bracketed(word: any, name = ''): any {
  if (name === 'locale') return word
  if (typeof word === 'string') return '⟦' + word + '⟧'
  if (typeof word === 'function') return (...given: any[]) => bracketed(word(...given))
  if (Array.isArray(word)) return word.map((one) => bracketed(one))
  return Object.fromEntries(Object.entries(word).map(([name, one]) => [name, bracketed(one, name)]))
}
`

const pseudo: Plugin = {
  name: 'pseudo',
  enforce: 'pre',
  transform(code, id) {
    if (!id.endsWith('/lib/words/index.ts')) return
    if (!code.includes(CHOICE)) throw new Error(`${id} has no ${CHOICE}`)
    return code.replace(CHOICE, `bracketed(${CHOICE}) as Words`) + BRACKETS
  },
}

export default mergeConfig(page, { plugins: [pseudo] })
