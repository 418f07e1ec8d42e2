// All words of the page, in the language of who looks. What the server says is not among them.

import { en } from './en'

export type Words = typeof en

/** The languages that exist. A new one is a file that satisfies Words, and a line here. */
const LANGUAGES: Record<string, Words> = { en }

/** The first of the wanted languages that exists, else the page's own: "de-AT" is content with "de". */
export function chosen(wanted: readonly string[], existing: string[]): string {
  const found = wanted.flatMap((tag) => [tag, tag.split('-')[0]!]).find((tag) => existing.includes(tag))
  return found ?? existing[0]!
}

export const language = chosen(globalThis.navigator?.languages ?? [], Object.keys(LANGUAGES))

export const words = LANGUAGES[language]!
