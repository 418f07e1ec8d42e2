// Captions of many clips at once, and what there is to say about them.

import { words } from './words'

/** The text encoder reads about this much. */
export const LONGEST = 4000

/** One's own and the trigger phrase as they are trained on; the phrase is not put before itself. */
export function withTrigger(trigger: string, caption: string): string {
  const [head, rest] = [caption.slice(0, trigger.length), caption.slice(trigger.length)]
  const word = (letter: string | undefined) => letter !== undefined && /[\p{L}\p{N}]/u.test(letter)
  const begins = head.toLowerCase() === trigger.toLowerCase() && !(word(rest[0]) && word(trigger.at(-1)))
  return trigger && begins ? trigger + rest : `${trigger} ${caption}`.trim()
}

/** What a file name says of its sound: words without take numbers, or "". Names of the Universal Category System too. */
export function fromName(path: string): string {
  const name = path.slice(path.lastIndexOf('/') + 1).replace(/\.[^.]+$/, '').replace(/_(start|end)$/, '')
  // CATsub_What is heard_Maker_Source: the second part is meant for people.
  const heard = /^[A-Z]{2,}[A-Za-z]*(?:-[^_]*)?_([^_]+)_[^_]/.exec(name)?.[1] ?? name
  const found = heard
    .replace(/(\p{Ll})(?=[\p{Lu}\d])/gu, '$1 ')
    .split(/[^\p{L}\p{N}'’]+/u)
    .filter((word) => word && !/^(0\d*|take|tk)$/i.test(word))
  while (/^\d+$/.test(found.at(-1) ?? '')) found.pop()
  const loud = found.every((word) => word === word.toUpperCase())
  // Short words in capitals are names of things, as UFO and AK47.
  return found.map((word) => (!loud && word.length < 5 && word === word.toUpperCase() ? word : word.toLowerCase())).join(' ')
}

/** Each caption, and where one is empty the one above it. */
export function filledDown(captions: string[]): string[] {
  let above = ''
  return captions.map((caption) => (above = caption.trim() ? caption : above))
}

/** Every place of `wanted`, in whichever letters, becomes `instead`. */
export function replaced(caption: string, wanted: string, instead: string): string {
  if (!wanted) return caption
  return caption.replace(new RegExp(wanted.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'), 'giu'), () => instead)
}

/** What the server would say of the caption of one clip, in its words. */
export function captionWarnings(caption: string, trigger: string): string[] {
  if (!caption.trim()) {
    return [trigger ? words.captions.triggerAlone : words.captions.empty]
  }
  return caption.trim().length > LONGEST ? [words.captions.long(LONGEST)] : []
}

/** What there is to say of all captions together. */
export function setWarnings(captions: string[]): string[] {
  const texts = captions.map((caption) => caption.trim())
  if (texts.length > 1 && new Set(texts).size === 1) {
    return [words.captions.alike]
  }
  const found: string[] = []
  const without = texts.filter((text) => !text).length
  if (without) found.push(words.captions.without(without, texts.length))
  const styles = new Map<ReturnType<typeof style>, number>()
  for (const text of texts) if (text) styles.set(style(text), (styles.get(style(text)) ?? 0) + 1)
  const common = [...styles].filter(([, number]) => number >= 0.2 * texts.length)
  if (common.length > 1) {
    const kinds = common.map(([kind, number]) => words.captions[kind](number)).join(', ')
    found.push(words.captions.mixed(kinds))
  }
  return found
}

function style(text: string): 'tags' | 'sentence' | 'phrase' {
  const parts = text.split(',')
  const number = parts.reduce((sum, part) => sum + part.split(/\s+/).filter(Boolean).length, 0)
  if (parts.length >= 3 && number <= 3 * parts.length) return 'tags'
  return /[.!?]["')]*$/.test(text) ? 'sentence' : 'phrase'
}

/** The server's advice on captions, which is of the clips as they were sent. */
export function isAboutCaptions(warning: string): boolean {
  return /^All captions are|\bhave no caption|\bhas no caption|^Captions are written/.test(warning)
}
