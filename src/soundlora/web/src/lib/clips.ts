// A dropped folder or zip, before the server has looked at it: clips with what stands beside them, and what a bucket
// would keep.

import type { Look } from './look'
import type { ModeName } from './modes'
import { parallel } from './parallel'
import { parseMask, type Span } from './spans'
import { words } from './words'
import type { Entry } from './zip'

export const AUDIO = (
  '.wav .mp3 .flac .ogg .aac .m4a .opus .oga .aiff .aif .aifc .caf .w64 .rf64 .bwf .wv .wma .mp2 .mka .webm .mkv .mp4 .mov'
).split(' ')

/** As long as this may be missing from a clip for it to fill the bucket; the server's own grace. */
export const TOLERANCE = 0.04

export interface LocalClip {
  name: string
  blob: Blob
  caption: string
  /** As it was dropped, to know whether it was edited. */
  original: string
  /** What is made anew of it, as its mask says. */
  spans: Span[]
  originalSpans: Span[]
  /** What the page has found of it; null where the server alone can tell. */
  look?: Look | null
}

export interface LocalData {
  clips: LocalClip[]
  /** Files that are neither clips nor captions or masks of clips. */
  others: Entry[]
}

function base(name: string): string {
  return name.slice(name.lastIndexOf('/') + 1)
}

function stem(name: string): string {
  const dot = name.lastIndexOf('.')
  return dot > name.lastIndexOf('/') + 1 ? name.slice(0, dot) : name
}

function hidden(name: string): boolean {
  return name.split('/').some((part) => part.startsWith('.') || part === '__MACOSX')
}

export function isAudio(name: string): boolean {
  const lower = name.toLowerCase()
  return AUDIO.some((ending) => lower.endsWith(ending))
}

/** Texts and masks. */
const READ_AT_A_TIME = 16
const MASK = '_mask.json'
const START = '_start'
const END = '_end'

/** Join clips with the captions and masks of the same base name. */
export async function pairUp(entries: Entry[]): Promise<LocalData> {
  const visible = entries.filter((entry) => !hidden(entry.name))
  const sounds = visible.filter((entry) => isAudio(entry.name))
  const ending = (suffix: string) => visible.filter((entry) => entry.name.toLowerCase().endsWith(suffix))
  const texts = new Map(ending('.txt').map((e) => [stem(e.name), e] as const))
  const masks = new Map(ending(MASK).map((e) => [base(e.name).slice(0, -MASK.length), e] as const))
  const stems = new Set(sounds.map((entry) => stem(entry.name)))
  const used = new Set<Entry>()
  const joined = async ({ name, blob }: Entry): Promise<LocalClip> => {
    const own = stem(name)
    // Of a pair the caption may bear the name that both sides share.
    const pair = own.endsWith(END) ? own.slice(0, -END.length) : ''
    const text = texts.get(own) ?? (pair && stems.has(pair + START) && !stems.has(pair) ? texts.get(pair) : undefined)
    const mask = masks.get(base(own))
    if (text) used.add(text)
    if (mask) used.add(mask)
    const caption = text ? (await text.blob.text()).replace(/^\ufeff/, '').trim() : ''
    const spans = mask ? parseMask(await mask.blob.text()) : []
    return { name, blob, caption, original: caption, spans, originalSpans: spans }
  }
  const clips = await parallel(sounds, READ_AT_A_TIME, joined)
  clips.sort((a, b) => (a.name < b.name ? -1 : 1))
  return { clips, others: visible.filter((entry) => !isAudio(entry.name) && !used.has(entry)) }
}

/** The files to pack for these clips, captions and masks included. */
export function entriesOf(data: LocalData): Entry[] {
  return data.clips.flatMap((clip) => {
    const caption = clip.caption.trim()
    const text = { name: `${stem(clip.name)}.txt`, blob: new Blob([caption + '\n'], { type: 'text/plain' }) }
    const spans = JSON.stringify(clip.spans)
    const mask = { name: stem(clip.name) + MASK, blob: new Blob([spans + '\n'], { type: 'application/json' }) }
    return [{ name: clip.name, blob: clip.blob }, ...(caption ? [text] : []), ...(clip.spans.length ? [mask] : [])]
  })
}

/** Beside texts of the clips' own names: captions of later seconds, in other forms, and of many clips in a table. */
const CAPTIONS = /(@ ?\d[\d.,]*( ?s)?\.txt|\.lab|(^|\/)(metadata\.csv|metadata\.jsonl|captions\.json))$/i

/** The files to send: the clips', and others that may hold captions, which the server reads after those of the clips. */
export function sentOf(data: LocalData): Entry[] {
  const ofSound = (name: string) => /\.txt$/i.test(name) && isAudio(stem(name))
  return [...entriesOf(data), ...data.others.filter(({ name }) => CAPTIONS.test(name) || ofSound(name))]
}

/** What was changed since the clips were dropped or uploaded, captions or spans, in words; or "". */
export function changesOf(clips: LocalClip[]): string {
  const captions = clips.some((clip) => clip.caption.trim() !== clip.original)
  const spans = clips.some(
    ({ spans, originalSpans }) => (spans.length || originalSpans.length) && JSON.stringify(spans) !== JSON.stringify(originalSpans),
  )
  return captions && spans ? words.dataset.both : captions ? words.dataset.captions : spans ? words.dataset.spans : ''
}

export interface Pair {
  name: string
  start: LocalClip | null
  end: LocalClip | null
  /** Why it can't be used, or "". */
  lack: string
}

/** The clips as pairs: NAME_start is given, NAME_end is what becomes of it. */
export function pairsOf(clips: LocalClip[]): Pair[] {
  const found = new Map<string, Pair>()
  for (const clip of clips) {
    const own = base(stem(clip.name))
    const role = [START, END].find((one) => own.endsWith(one))
    const name = role ? own.slice(0, -role.length) : clip.name
    const pair = found.get(name) ?? { name, start: null, end: null, lack: '' }
    if (role === START) pair.start = clip
    else pair.end = clip
    if (!role) pair.lack = words.dataset.stray(clip.name)
    found.set(name, pair)
  }
  for (const pair of found.values()) {
    const half = pair.start ?? pair.end
    if (!pair.lack && half && !(pair.start && pair.end)) {
      pair.lack = words.dataset.half(base(half.name), pair.name + (pair.start ? END : START))
    }
  }
  return [...found.values()]
}

/** What a mode needs and these clips lack, a sentence each. */
export function lacksOf(mode: ModeName, clips: LocalClip[]): string[] {
  if (mode === 'a2a') return pairsOf(clips).flatMap((pair) => pair.lack || [])
  if (mode === 'inpaint') return clips.flatMap((clip) => (clip.spans.length ? [] : words.dataset.noSpan(clip.name)))
  return []
}

/** Whether the report's clip is this one: a zip may hold it in a folder. */
export function sameName(a: string, b: string): boolean {
  return a === b || base(a) === base(b)
}

export interface Reach {
  kept: number
  seconds: number
}

/** How many clips a sound becomes: its start alone, or with `windows` as many as fit. The server counts alike. */
export function clipsOf(length: number, bucket: number, windows = false): number {
  const fitting = Math.floor((length + TOLERANCE) / bucket)
  return windows ? fitting : Math.min(1, fitting)
}

/** How many clips fill a bucket, and how much sound that is. */
export function reach(lengths: number[], bucket: number, windows = false): Reach {
  const kept = lengths.reduce((sum, length) => sum + clipsOf(length, bucket, windows), 0)
  return { kept, seconds: kept * bucket }
}
