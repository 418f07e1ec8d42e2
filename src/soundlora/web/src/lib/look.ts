// A first look at a plain WAV, before the server has it: its length by the header, and where its first sound is.
// Nothing is said of a file where the server might find otherwise, such as one that is cut off.

import { TOLERANCE, type LocalClip } from './clips'
import { parallel } from './parallel'

export interface Look {
  /** Samples of a channel, and how many a second has. */
  frames: number
  rate: number
  /** The first frame that is above half of a step of 16 bits; Infinity where there is none in the longest clip length. */
  first: number
}

const AT_A_TIME = 100
const HEAD = 1 << 16
const STEP = 1 << 20
const LONGEST = 61
const PLAIN = 1
const EXTENSIBLE = 0xfffe
// The end of the identifier of plain samples, whose beginning is the number of the format.
const IDENTIFIER = '00001000800000aa00389b71'

/**
 * Take a first look at clips that had none, for as long as they are wanted. The first hundred are told first. What is told
 * makes all rows of the table anew, so that each time twice as many follow.
 */
export async function lookOver(clips: LocalClip[], wanted: () => boolean): Promise<void> {
  const unseen = clips.filter((clip) => clip.look === undefined)
  for (let told = AT_A_TIME; unseen.length && wanted(); told *= 2) {
    const some = unseen.splice(0, told)
    const found = await parallel(some, AT_A_TIME, ({ blob }) => lookAt(blob).catch(() => null))
    some.forEach((clip, n) => (clip.look = found[n]))
  }
}

export async function lookAt(sound: Blob): Promise<Look | null> {
  const head = await bytes(sound, 0, HEAD)
  const form = head && plain(head, sound.size)
  if (!head || !form) return null
  const { frames, rate, block, width, at } = form
  const end = at + Math.min(frames, LONGEST * rate) * block
  // Most sounds are heard within their first bytes, which have been read already.
  let [view, begin] = [head, at]
  for (let from = at; from < end; ) {
    const whole = Math.min(view.byteLength - begin, end - from)
    const found = heard(view, begin, begin + whole, width)
    if (found >= 0) return { frames, rate, first: Math.floor((from + found - begin - at) / block) }
    from += whole - (whole % block)
    const next = from < end ? await bytes(sound, from, Math.min(STEP, end - from)) : view
    if (!next || next.byteLength < block) return null
    ;[view, begin] = [next, 0]
  }
  return { frames, rate, first: Infinity }
}

async function bytes(sound: Blob, from: number, size: number): Promise<DataView | null> {
  const part = from || size < sound.size ? sound.slice(from, from + size) : sound
  return part.arrayBuffer().then((found) => new DataView(found), () => null)
}

interface Form {
  frames: number
  rate: number
  /** Bytes of a frame, and of a sample. */
  block: number
  width: number
  at: number
}

/** What the header says, or null where it is not plain samples of 16 or 24 bits, all of which are there. */
function plain(head: DataView, size: number): Form | null {
  const name = (at: number) => String.fromCharCode(...new Uint8Array(head.buffer, at, 4))
  if (head.byteLength < 44 || name(0) !== 'RIFF' || name(8) !== 'WAVE') return null
  let format = 0
  for (let at = 12; at + 8 <= head.byteLength; ) {
    const length = head.getUint32(at + 4, true)
    if (name(at) === 'fmt ') format = at + 8
    if (name(at) === 'data') {
      if (format && format + 16 <= at) return formOf(head, format, at + 8, length, size)
      return null
    }
    at += 8 + length + (length & 1)
  }
  return null
}

function formOf(head: DataView, format: number, at: number, length: number, size: number): Form | null {
  const [tag, channels, bits] = [head.getUint16(format, true), head.getUint16(format + 2, true), head.getUint16(format + 14, true)]
  const [rate, block] = [head.getUint32(format + 4, true), head.getUint16(format + 12, true)]
  const whole = length > 0 && at + length <= size && length % block === 0
  // Other rates are resampled first, and other widths are read in several ways.
  const usual = rate >= 8000 && rate <= 192_000 && rate % 25 === 0 && channels >= 1 && channels <= 8 && [16, 24].includes(bits)
  if (!whole || !usual || block !== (channels * bits) / 8) return null
  if (tag !== PLAIN && !(tag === EXTENSIBLE && isPlain(head, format, bits))) return null
  return { frames: length / block, rate, block, width: bits / 8, at }
}

function isPlain(head: DataView, format: number, bits: number): boolean {
  if (head.getUint32(format - 4, true) < 40 || head.getUint16(format + 18, true) !== bits) return false
  const rest = [...new Uint8Array(head.buffer, format + 26, 14)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
  return head.getUint16(format + 24, true) === PLAIN && rest === '0000' + IDENTIFIER
}

/** The byte of the first sample that counts as sound, or -1. Less than half of a step of 16 bits is silence. */
function heard(view: DataView, from: number, to: number, width: number): number {
  for (let at = from; at + width <= to; at += width) {
    const value = width === 2 ? view.getInt16(at, true) : view.getInt16(at + 1, true) * 256 + view.getUint8(at)
    if (width === 2 ? value : Math.abs(value) >= 128) return at
  }
  return -1
}

export type Verdict = 'kept' | 'short' | 'silent'

/** What the server will say of a clip of this length. */
export function verdictOf({ frames, rate, first }: Look, bucket: number): Verdict {
  const length = Math.floor(bucket * rate)
  if ((length - frames - 1) / rate > TOLERANCE) return 'short'
  return first < length ? 'kept' : 'silent'
}

export function secondsOf(look: Look): number {
  return look.frames / look.rate
}
