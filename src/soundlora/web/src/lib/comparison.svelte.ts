// What is compared, and how: the voices, which one is heard, where they are, and what the pictures are drawn from.

import { Voices, type Span } from './compare'
import { channels, decoded } from './decode'
import { loudness, matching } from './loudness'
import { FLOOR, loudest, mel, type Mel } from './mel'
import { BANDS, COLUMNS } from './picture'
import { playing } from './playing'

export interface Voice {
  /** The letter that it is known by, which is its key too. */
  letter: string
  title: string
  note: string
  src: string
  /** Other sounds that may take its place. */
  choices?: { value: string; label: string }[]
  chosen?: string
  choose?: (value: string) => void
}

const levels = new WeakMap<AudioBuffer, number>()
const pictures = new WeakMap<AudioBuffer, { seconds: number; picture: Mel }>()

function levelOf(sound: AudioBuffer): number {
  if (!levels.has(sound)) levels.set(sound, loudness(channels(sound), sound.sampleRate))
  return levels.get(sound)!
}

function pictureOf(sound: AudioBuffer, seconds: number): Mel {
  const found = pictures.get(sound)
  if (found?.seconds === seconds) return found.picture
  const picture = mel(channels(sound), sound.sampleRate, seconds, COLUMNS, BANDS)
  pictures.set(sound, { seconds, picture })
  return picture
}

export class Comparison {
  voices = $state.raw<Voice[]>([])
  sounds = $state.raw<(AudioBuffer | null)[]>([])
  broken = $state.raw<boolean[]>([])
  letter = $state('B')
  running = $state(false)
  at = $state(0)
  looped = $state(false)
  span = $state.raw<Span | null>(null)
  matched = $state(false)
  oneScale = $state(true)
  blind = $state(false)
  silent = $state(false)

  /** What is to be compared when the blind test has ended. */
  private waiting: Voice[] | null = null
  private readonly engine = new Voices(() => {
    this.running = false
    this.at = 0
  })

  readonly length = $derived(Math.max(0, ...this.sounds.map((sound) => sound?.duration ?? 0)))
  readonly heard = $derived(Math.max(0, this.voices.findIndex((voice) => voice.letter === this.letter)))
  /** In LUFS. */
  readonly levels = $derived(this.sounds.map((sound) => (sound ? levelOf(sound) : -Infinity)))
  readonly gains = $derived(this.matched ? matching(this.levels) : this.sounds.map(() => 0))
  readonly pictures = $derived(this.sounds.map((sound) => (sound ? pictureOf(sound, this.length) : null)))
  /** The top of each picture's scale in dB. */
  readonly tops = $derived.by(() => {
    const all = this.pictures.filter((each): each is Mel => each !== null)
    const gains = this.gains.filter((_, voice) => this.pictures[voice])
    const shared = all.length ? loudest(all, gains) : FLOOR
    return this.pictures.map((each, voice) => (this.oneScale || !each ? shared : loudest([each], [this.gains[voice]!])))
  })

  show(voices: Voice[]): void {
    if (this.blind) return void (this.waiting = voices)
    const before = this.voices
    this.voices = voices
    if (voices.length === before.length && voices.every((voice, n) => voice.src === before[n]!.src)) return
    const known = new Map(before.map((voice, n) => [voice.src, this.sounds[n]]))
    this.sounds = voices.map((voice) => known.get(voice.src) ?? null)
    this.broken = voices.map(() => false)
    this.engine.hear(this.heard)
    voices.forEach((voice, n) => void this.load(voice, n))
    this.hand()
  }

  private async load(voice: Voice, number: number): Promise<void> {
    if (this.sounds[number]) return
    const sound = await decoded(voice.src).catch(() => null)
    if (this.voices[number]?.src !== voice.src) return
    if (sound) this.sounds = this.sounds.map((each, n) => (n === number ? sound : each))
    else this.broken = this.broken.map((each, n) => each || n === number)
    this.hand()
  }

  private hand(): void {
    this.engine.set(this.sounds)
    const { start, end } = this.span ?? { start: 0, end: this.length }
    const last = Math.min(end, this.length)
    this.engine.loop(this.looped && this.length ? (start < last ? { start, end: last } : { start: 0, end: this.length }) : null)
    this.engine.level(this.gains)
  }

  hear(letter: string): void {
    if (!this.voices.some((voice) => voice.letter === letter)) return
    this.letter = letter
    this.engine.hear(this.heard)
  }

  /** Hear a voice by its number without showing which one it is. */
  hearHidden(number: number): void {
    this.engine.hear(number)
  }

  next(): string {
    return this.voices[(this.heard + 1) % this.voices.length]?.letter ?? ''
  }

  async toggle(): Promise<void> {
    if (this.running) return this.stop()
    playing(this.stop)
    await this.engine.play(this.at * this.length, () => (this.silent = true))
    this.running = this.engine.running
    if (this.running) this.silent = false
    this.tick()
  }

  readonly stop = (): void => {
    this.engine.pause()
    this.running = false
  }

  private tick(): void {
    if (!this.running) return
    this.at = this.length ? this.engine.position / this.length : 0
    requestAnimationFrame(() => this.tick())
  }

  seek(share: number): void {
    this.at = Math.min(1, Math.max(0, share))
    this.engine.seek(this.at * this.length)
  }

  /** Go round, within a span in seconds or the whole. */
  loop(on: boolean, span: Span | null = this.span): void {
    this.looped = on
    this.span = on ? span : null
    this.hand()
  }

  match(on: boolean): void {
    this.matched = on
    this.hand()
  }

  end(): void {
    this.blind = false
    this.engine.hear(this.heard)
    if (this.waiting) this.show(this.waiting)
    this.waiting = null
  }

  close(): void {
    this.engine.close()
  }
}
