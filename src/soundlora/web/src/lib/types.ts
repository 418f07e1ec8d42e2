// What the server says, as the page reads it.

import type { Curves } from './curves'
import type { Values } from './schema'

export const SPEAKING = 'fal-ai/ltx-2.3-quality/text-to-audio'
export const SPEAKING_WITH_LORA = `${SPEAKING}/lora`

export interface File {
  url: string
  file_name?: string | null
  file_size?: number | null
  content_type?: string | null
}

export interface Progress {
  stage: string
  step: number
  steps: number
  loss?: number | null
  steps_per_second?: number | null
  seconds_left?: number | null
  message?: string
}

export interface LogLine {
  number: number
  at: number
  level: string
  message: string
}

export interface RunSummary {
  id: string
  endpoint: string
  state: 'queued' | 'running' | 'completed'
  outcome: 'succeeded' | 'failed' | 'cancelled' | null
  position: number | null
  cancel_asked: boolean
  /** Whether it is to end with what it has learnt. */
  stop_asked?: boolean
  created_at: number
  started_at: number | null
  ended_at: number | null
  input: Values | null
  progress: Progress | null
  status_code: number | null
  error: string | null
  error_type: string | null
  units: number | null
  cost: number | null
  /** The last preview, or the sound itself. */
  sound: File | null
  lora: File | null
  /** Whether it can go on from a checkpoint. */
  resumable: boolean
  /** Of a finished training that can be trained on, its steps. */
  steps_done?: number | null
  checkpoints: { step: number; file: File }[]
  /** What its owner says of it; "" is nothing. */
  starred: boolean
  name: string
  note: string
}

export type Mark = Pick<RunSummary, 'starred' | 'name' | 'note'>

export interface Run extends RunSummary {
  result: (Values & { lora_file?: File; own_file?: File; config_file?: File; audio?: File; report?: File; debug_dataset?: File; steps?: number }) | null
  previews: { step: number; prompt: number; file: File }[]
  files: (File & { role: string })[]
  /** Whole in an answer; in an event what is new, as are the lines of the log. */
  curves: Curves
  logs: LogLine[]
}

export interface ClipReport {
  name: string
  status: 'kept' | 'skipped'
  caption: string
  reason: string | null
  problem: string | null
  /** Of the file that it comes from. */
  seconds: number | null
  /** From which second of that file on: more than 0 only for later windows of a long recording. */
  offset: number
  warnings: string[]
}

export interface DatasetReport {
  duration: number
  suggestions: { duration: number; clips: number; seconds: number }[]
  kept: number
  skipped: number
  total_seconds: number
  /** Of all files, of which `total_seconds` are trained on. */
  source_seconds: number
  /** Whether a long recording is one clip or as many as fit. */
  windows: 'first' | 'all'
  warnings: string[]
  ignored: { name: string; reason: string }[]
  clips: ClipReport[]
  /** Why training would refuse the whole set. */
  refusal: string | null
}

export interface Machine {
  soundlora: string
  python: string
  torch: string
  platform: string
  cpu: { cores: number; threads: number; features: string[] }
  memory: number | null
  gpus: { name: string; memory: number }[]
  disk_free: number
  device: string
  dtype: string
  bases: { name: string; parameters?: number; milliseconds_per_step?: number; milliseconds_per_preview?: number; error?: string }[]
  base: string
}

/** The losses at a noise level: of the base alone, and with the LoRA. */
export interface Level {
  sigma: number
  base: number
  lora: number
}

/** A figure, and what it may be off by. */
export interface Estimate {
  value: number
  interval: number | null
}

/** A figure of what is heard: of the clips, as the run began, and with the LoRA. */
export interface Heard {
  name: string
  unit: string
  clips: Estimate | null
  start: Estimate | null
  lora: Estimate | null
}

export interface Fit {
  verdict: string
  sentences: string[]
  advice?: string[]
  best_file?: string | null
  levels?: Level[]
  levels_kept_out?: boolean
  heard?: Heard[]
  heard_of?: string
}
