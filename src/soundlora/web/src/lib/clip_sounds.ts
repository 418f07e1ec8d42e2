// The clips of a run that its server keeps as sound, so that what was learnt can be compared with what it imitates.

import { local } from './api'
import type { File } from './types'

export interface ClipSound {
  name: string
  caption: string
  seconds: number
  kept_out: boolean
  src: string
}

/** The list of a run's clips among its files, which has an address of its own. */
export function listOf(files: (File & { role: string })[]): string {
  return files.find((file) => file.role === 'clips')?.url ?? ''
}

export async function clipSounds(list: string, files: (File & { role: string })[]): Promise<ClipSound[]> {
  const response = await fetch(local(list))
  const { clips } = (await response.json()) as { clips: (ClipSound & { file: string })[] }
  const found = new Map(files.filter((file) => file.role === 'clip').map((file) => [file.file_name, file.url]))
  return clips.flatMap((clip) => (found.has(clip.file) ? [{ ...clip, src: local(found.get(clip.file)!) }] : []))
}
