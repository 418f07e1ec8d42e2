// Several sounds at once, one of them heard: all run in step, so that switching goes on at the same place without a gap.

const FADE = 0.012
const PATIENCE = 1500

export interface Span {
  start: number
  end: number
}

export class Voices {
  private context: AudioContext | null = null
  private nodes: GainNode[] = []
  private sources: AudioBufferSourceNode[] = []
  private sounds: (AudioBuffer | null)[] = []
  private gains: number[] = []
  private span: Span | null = null
  private began = 0
  private offset = 0
  private heard = 0
  private asked = 0
  running = false

  constructor(private readonly onEnd: () => void) {}

  /** The sounds from now on; one that is not there yet is null. What plays goes on at its place. */
  set(sounds: (AudioBuffer | null)[]): void {
    const at = this.position
    this.sounds = sounds
    if (this.running) this.start(at)
  }

  get length(): number {
    return Math.max(0, ...this.sounds.map((sound) => sound?.duration ?? 0))
  }

  get position(): number {
    if (!this.running || !this.context) return this.offset
    return place(this.offset + Math.max(0, this.context.currentTime - this.began), this.length, this.span)
  }

  hear(voice: number): void {
    this.heard = voice
    this.turn()
  }

  /** Turn each voice by a gain in dB. */
  level(gains: number[]): void {
    this.gains = gains
    this.turn()
  }

  /** Go round within a span in seconds, or none. */
  loop(span: Span | null): void {
    const at = this.position
    this.span = span
    if (this.running) this.start(at)
  }

  /**
   * Play from `at` on, in seconds, once there is a sound output. A busy machine takes seconds to open it, so `late` is
   * called where it takes long. Without any output that is all that happens.
   */
  async play(at: number, late: () => void): Promise<void> {
    this.context ??= new AudioContext()
    const asked = (this.asked += 1)
    const timer = setTimeout(() => asked === this.asked && late(), PATIENCE)
    await this.context.resume().catch(() => undefined)
    clearTimeout(timer)
    // It may have been stopped meanwhile, or asked for anew.
    if (asked === this.asked && this.context?.state === 'running') this.start(at)
  }

  pause(): void {
    this.asked += 1
    this.offset = this.position
    this.running = false
    this.silence()
  }

  seek(at: number): void {
    if (this.running) this.start(at)
    else this.offset = at
  }

  close(): void {
    this.silence()
    void this.context?.close()
    this.context = null
    this.nodes = []
  }

  private start(at: number): void {
    this.silence()
    const context = this.context!
    const [length, span] = [this.length, this.span]
    if (span) this.offset = at < span.start || at >= span.end - 0.02 ? span.start : at
    else this.offset = at >= length - 0.02 ? 0 : at
    this.began = context.currentTime + 0.01
    while (this.nodes.length < this.sounds.length) {
      const node = context.createGain()
      node.connect(context.destination)
      this.nodes.push(node)
    }
    this.nodes.forEach((node, voice) => node.gain.setValueAtTime(this.gain(voice), this.began))
    this.sources = this.sounds.flatMap((sound, voice) => {
      if (!sound) return []
      const source = context.createBufferSource()
      source.buffer = padded(context, sound, length)
      if (span) Object.assign(source, { loop: true, loopStart: span.start, loopEnd: span.end })
      source.connect(this.nodes[voice]!)
      source.start(this.began, this.offset)
      return source
    })
    this.running = this.sources.length > 0
    // All are of one length, so that the end of one is the end of all.
    if (this.running) {
      this.sources[0]!.onended = () => {
        this.running = false
        this.offset = 0
        this.onEnd()
      }
    }
  }

  private turn(): void {
    this.nodes.forEach((node, voice) => node.gain.setTargetAtTime(this.gain(voice), this.context!.currentTime, FADE / 3))
  }

  private gain(voice: number): number {
    return voice === this.heard ? 10 ** ((this.gains[voice] ?? 0) / 20) : 0
  }

  private silence(): void {
    for (const source of this.sources) {
      source.onended = null
      source.stop()
    }
    this.sources = []
  }
}

/** Where a playback is that began at 0 and has run for `seconds`: at the end it stays, in a span it goes round. */
export function place(seconds: number, length: number, span: Span | null): number {
  if (!span) return Math.min(length, seconds)
  return seconds < span.end ? seconds : span.start + ((seconds - span.start) % (span.end - span.start))
}

function padded(context: BaseAudioContext, sound: AudioBuffer, seconds: number): AudioBuffer {
  const frames = Math.round(seconds * sound.sampleRate)
  if (sound.length >= frames) return sound
  const whole = context.createBuffer(sound.numberOfChannels, frames, sound.sampleRate)
  for (let number = 0; number < sound.numberOfChannels; number += 1) whole.copyToChannel(sound.getChannelData(number), number)
  return whole
}
