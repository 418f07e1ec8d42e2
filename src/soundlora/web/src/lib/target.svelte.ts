// "Your clip" as a voice of a comparison: which clips a run has, and the one that is nearest to what was asked for.

import { clipSounds, listOf, type ClipSound } from './clip_sounds'
import type { Voice } from './comparison.svelte'
import { nearest } from './nearest'
import type { Run } from './types'
import { words } from './words'

export class Target {
  clips = $state.raw<ClipSound[]>([])
  /** Chosen by hand. */
  private name = $state('')
  private list = ''

  /** Read the clips of a run once they are there. */
  read(files: Run['files']): void {
    const list = listOf(files)
    if (list === this.list) return
    this.list = list
    this.clips = []
    if (list) void clipSounds(list, files).then((clips) => list === this.list && (this.clips = clips)).catch(() => (this.list = ''))
  }

  /** The voice beside sounds of `prompt`, or none. */
  voice(letter: string, prompt: string): Voice[] {
    if (!this.clips.length) return []
    const clip = this.clips.find(({ name }) => name === this.name) ?? this.clips[nearest(prompt, this.clips.map(({ caption }) => caption))]!
    return [{
      letter,
      title: words.takes.yourClip,
      note: clip.kept_out ? words.takes.keptOut(clip.caption) : clip.caption,
      src: clip.src,
      choices: this.clips.map(({ name }) => ({ value: name, label: name })),
      chosen: clip.name,
      choose: (name) => (this.name = name),
    }]
  }
}
