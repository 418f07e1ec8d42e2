// A dropped folder or zip, before the server has looked at it: clips with their captions, and what a bucket would keep.

import type { Entry } from './zip'

export const AUDIO = ['.wav', '.mp3', '.flac', '.ogg', '.aac', '.m4a', '.opus']

/** As long as this may be missing from a clip for it to fill the bucket; the server's own grace. */
export const TOLERANCE = 0.04

export interface LocalClip {
  name: string
  blob: Blob
  caption: string
  /** As it was dropped, to know whether it was edited. */
  original: string
}

export interface LocalData {
  clips: LocalClip[]
  /** Files that are neither clips nor captions of clips. */
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

/** Join clips with the captions of the same base name. */
export async function pairUp(entries: Entry[]): Promise<LocalData> {
  const visible = entries.filter((entry) => !hidden(entry.name))
  const texts = new Map(
    visible.filter((e) => e.name.toLowerCase().endsWith('.txt')).map((e) => [stem(e.name), e] as const),
  )
  const clips: LocalClip[] = []
  for (const { name, blob } of visible.filter((entry) => isAudio(entry.name))) {
    const text = texts.get(stem(name))
    texts.delete(stem(name))
    const caption = text ? (await text.blob.text()).replace(/^\ufeff/, '').trim() : ''
    clips.push({ name, blob, caption, original: caption })
  }
  clips.sort((a, b) => (a.name < b.name ? -1 : 1))
  const left = new Set([...texts.values()].map((entry) => entry.name))
  return {
    clips,
    others: visible.filter((e) => !isAudio(e.name) && (!e.name.toLowerCase().endsWith('.txt') || left.has(e.name))),
  }
}

/** The files to pack for these clips, captions included. */
export function entriesOf(data: LocalData): Entry[] {
  return data.clips.flatMap((clip) => {
    const caption = clip.caption.trim()
    const text = { name: `${stem(clip.name)}.txt`, blob: new Blob([caption + '\n'], { type: 'text/plain' }) }
    return [{ name: clip.name, blob: clip.blob }, ...(caption ? [text] : [])]
  })
}

/** Whether the report's clip is this one: a zip may hold it in a folder. */
export function sameName(a: string, b: string): boolean {
  return a === b || base(a) === base(b)
}

export interface Reach {
  kept: number
  seconds: number
}

/** How many clips fill a bucket, and how much sound that is. */
export function reach(lengths: number[], bucket: number): Reach {
  const kept = lengths.filter((length) => length + TOLERANCE >= bucket).length
  return { kept, seconds: kept * bucket }
}
