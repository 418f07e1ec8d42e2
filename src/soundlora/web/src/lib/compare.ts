// Two sounds at once, one of them heard: both run in step, so that switching goes on at the same place without a gap.

const FADE = 0.012

export class Pair {
  private readonly context = new AudioContext()
  private readonly gains: [GainNode, GainNode]
  private sources: AudioBufferSourceNode[] = []
  private buffers: [AudioBuffer | null, AudioBuffer | null] = [null, null]
  private began = 0
  private offset = 0
  heard: 0 | 1 = 1
  running = false

  constructor(private readonly onEnd: () => void) {
    const gain = () => {
      const node = this.context.createGain()
      node.connect(this.context.destination)
      return node
    }
    this.gains = [gain(), gain()]
  }

  async load(side: 0 | 1, url: string): Promise<void> {
    const at = this.position
    const bytes = await (await fetch(url)).arrayBuffer()
    this.buffers[side] = await this.context.decodeAudioData(bytes)
    if (this.running) this.start(at)
  }

  get length(): number {
    return Math.max(this.buffers[0]?.duration ?? 0, this.buffers[1]?.duration ?? 0)
  }

  get position(): number {
    if (!this.running) return this.offset
    return Math.min(this.length, this.offset + this.context.currentTime - this.began)
  }

  hear(side: 0 | 1): void {
    this.heard = side
    const now = this.context.currentTime
    this.gains.forEach((node, index) => node.gain.setTargetAtTime(index === side ? 1 : 0, now, FADE / 3))
  }

  start(at: number): void {
    this.silence()
    void this.context.resume()
    this.offset = at >= this.length - 0.02 ? 0 : at
    this.began = this.context.currentTime + 0.01
    this.gains.forEach((node, index) => node.gain.setValueAtTime(index === this.heard ? 1 : 0, this.began))
    this.sources = this.buffers.flatMap((buffer, index) => {
      if (!buffer || this.offset >= buffer.duration) return []
      const source = this.context.createBufferSource()
      source.buffer = buffer
      source.connect(this.gains[index]!)
      source.start(this.began, this.offset)
      return source
    })
    this.running = this.sources.length > 0
    const last = this.sources.reduce<AudioBufferSourceNode | null>(
      (longest, one) => (one.buffer!.duration > (longest?.buffer!.duration ?? 0) ? one : longest),
      null,
    )
    if (last) {
      last.onended = () => {
        this.running = false
        this.offset = 0
        this.onEnd()
      }
    }
  }

  pause(): void {
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
    void this.context.close()
  }

  private silence(): void {
    for (const source of this.sources) {
      source.onended = null
      source.stop()
    }
    this.sources = []
  }
}
