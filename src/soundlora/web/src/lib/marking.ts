// The name and the note of a run on their way to the server. Text is never lost: until the server has it, it is kept here.

import type { Mark } from './types'

export type Text = Pick<Mark, 'name' | 'note'>
type Field = keyof Text

/** How long typing pauses before it is sent, and how long until it is tried again, in milliseconds. */
export const PAUSE = 600
export const AGAIN = 5000

export interface Surroundings {
  /** `leaving`: the page goes meanwhile. */
  send(change: Partial<Text>, leaving: boolean): Promise<void>
  /** What is wrong, or ''; and whether everything is saved. */
  told(problem: string, saved: boolean): void
  /** What is wrong in a sentence, and whether trying again may help. */
  problem(error: unknown): { sentence: string; passing: boolean }
  store: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>
}

/** Of each field what the server had, and what was typed after that. */
type Kept = Partial<Record<Field, { had: string; typed: string }>>

export class Marking {
  private waiting: Partial<Text> = {}
  private sending = false
  private timer: ReturnType<typeof setTimeout> | undefined
  private readonly key: string

  constructor(
    id: string,
    private had: Text,
    private readonly around: Surroundings,
  ) {
    this.key = `soundlora.unsaved.${id}`
  }

  get busy(): boolean {
    return this.sending || Object.keys(this.waiting).length > 0
  }

  /** What was typed before and never arrived. It is sent, and belongs into the fields. */
  begin(): Partial<Text> {
    const left = unsaved(this.kept(), this.had)
    this.keep({})
    for (const [field, text] of Object.entries(left)) this.write(field as Field, text)
    return left
  }

  write(field: Field, text: string): void {
    this.waiting[field] = text
    this.keep({ ...this.kept(), [field]: { had: this.had[field], typed: text } })
    this.around.told('', false)
    this.later(PAUSE)
  }

  /** Another tab has changed it. */
  heard(text: Text): void {
    if (!this.busy) this.had = { ...text }
  }

  /** Send what waits now; what is typed meanwhile follows. */
  async flush(): Promise<void> {
    clearTimeout(this.timer)
    if (this.sending || !this.busy) return
    const change = this.waiting
    this.waiting = {}
    this.sending = true
    try {
      await this.around.send(change, false)
      this.arrived(change)
      this.sending = false
      this.around.told('', !this.busy)
      if (this.busy) await this.flush()
    } catch (error) {
      this.sending = false
      this.waiting = { ...change, ...this.waiting }
      const { sentence, passing } = this.around.problem(error)
      this.around.told(sentence, false)
      if (passing) this.later(AGAIN)
    }
  }

  /** The page or the screen goes: what waits is sent without waiting for what is under way. */
  leave(): void {
    clearTimeout(this.timer)
    const change = this.waiting
    if (!Object.keys(change).length) return
    void this.around.send(change, true).then(
      () => this.arrived(change),
      () => undefined,
    )
  }

  private later(pause: number): void {
    clearTimeout(this.timer)
    this.timer = setTimeout(() => void this.flush(), pause)
  }

  private arrived(change: Partial<Text>): void {
    this.had = { ...this.had, ...change }
    const kept = this.kept()
    for (const field of Object.keys(change) as Field[]) {
      if (kept[field]?.typed === change[field]) delete kept[field]
    }
    this.keep(kept)
  }

  private kept(): Kept {
    try {
      return JSON.parse(this.around.store.getItem(this.key) ?? '{}') as Kept
    } catch {
      return {}
    }
  }

  private keep(kept: Kept): void {
    try {
      if (Object.keys(kept).length) this.around.store.setItem(this.key, JSON.stringify(kept))
      else this.around.store.removeItem(this.key)
    } catch {
      // A full or private store keeps nothing; the field still has the text.
    }
  }
}

/** Of what was kept, what the server does not have. Where a note was changed elsewhere meanwhile, both are there. */
export function unsaved(kept: Kept, now: Text): Partial<Text> {
  const found: Partial<Text> = {}
  for (const field of ['name', 'note'] as const) {
    const one = kept[field]
    if (!one || same(one.typed, now[field])) continue
    if (same(one.had, now[field])) found[field] = one.typed
    else if (field === 'note' && !now.note.includes(one.typed)) found.note = `${now.note}\n\n${one.typed}`.slice(0, 2000)
  }
  return found
}

/** The server takes spaces away around a name. */
function same(one: string, other: string): boolean {
  return one.trim() === other.trim()
}
