// The Try screen: what is generated, one by one or as a grid.

import { count } from './counted'

export const tries = {
  title: 'Try a sound',
  form: 'What to generate',
  promptExample: 'zapgun fast high laser zaps in a large hall',
  loras: 'LoRAs',
  loraLimit: (most: number) => `– none, or up to ${most}`,
  noLora: 'No run has a LoRA yet. The base alone can be tried, or {train one}.',
  checkpoint: 'LoRA of',
  checkpointOf: (title: string) => `Checkpoint of ${title}`,
  final: 'final',
  step: (step: number) => `step ${count(step)}`,
  bestStep: (step: number) => `step ${count(step)}, best`,
  begin: 'A sound to begin with',
  ifYouLike: '– if you like',
  beginLabel: 'Sound to begin with',
  becomes: 'What becomes of it',
  heard: 'Seconds it hears',
  added: 'Seconds added',
  markSpan: 'Mark at least one span that is mended.',
  length: 'Length',
  seed: 'Seed',
  newSeed: 'New',
  more: 'More',
  guidance: 'Guidance',
  steps: 'Steps',
  negative: 'Negative prompt',
  generate: 'Generate',
  both: 'Without and with the LoRA',
  sounds: 'Sounds',
  sending: 'Sending',
  appears: 'What you generate appears here, newest first.',
  bothAbout: '“Without and with the LoRA” makes the same seed at strength 0 and 1, so that you hear exactly what it changes.',
  unusable: 'These settings can’t be used',
  lost: (names: string) => `That sound had settings that have no field here: ${names}.`,
  aTraining: 'This is a training, not a sound.',
  deleted: 'The settings of this sound were deleted.',
  aLora: 'A LoRA',
}

/** A sound that is given, and what becomes of it. */
export const given = {
  'extend-prefix': 'It goes on',
  'extend-suffix': 'Something leads into it',
  inpaint: 'Its spans are mended',
  a2a: 'It turns into another sound',
  another: 'Another sound',
  choose: 'Choose a sound',
  remove: 'Remove',
}

export const grid = {
  open: 'Try a grid',
  title: 'A grid of sounds',
  rows: 'Rows',
  columns: 'Columns',
  promptsOf: (side: string) => `${side}: prompts`,
  valuesOf: (side: string) => `${side}: values`,
  axes: {
    prompt: ['Prompt', 'One in each line'],
    seed: ['Seed', 'Whole numbers, such as 1-4'],
    strength: ['Strength of the LoRAs', 'Numbers from -4 to 4, such as 0, 0.5, 1'],
    lora: ['LoRA', 'The base alone, and each LoRA that is chosen'],
    steps: ['Steps', 'Whole numbers from 8 to 30'],
    guidance: ['Guidance', 'Numbers from 1 to 20'],
  } as Record<'prompt' | 'seed' | 'strength' | 'lora' | 'steps' | 'guidance', [title: string, about: string]>,
  /** What an axis is called within a sentence. */
  names: { prompt: 'prompt', seed: 'seed', strength: 'strength', lora: 'lora', steps: 'steps', guidance: 'guidance' },
  generate: (number: number) => `Generate ${number ? `${number} ` : ''}sounds`,
  there: (number: number, all: number) => `${number} of ${all} are there`,
  keys: 'The arrow keys move and play, the space bar stops.',
  sounds: 'Sounds',
  none: ', none',
  notYet: ', not there yet',
  different: 'Choose two different settings.',
  loraFirst: 'Choose a LoRA first.',
  many: (number: number, most: number) => `That makes ${number} sounds, but ${most} at most are made at a time.`,
  notValue: (value: string, name: string) => `“${value}” can’t be a value of ${name}.`,
  needed: (name: string) => `Values of ${name} are needed.`,
}

export const takes = {
  two: 'Compare two of them',
  withClip: 'Compare it with a clip of yours',
  noClip: 'There is no clip to compare it with: the run has kept none.',
  yourClip: 'Your clip',
  keptOut: (caption: string) => `${caption} · kept out of the training`,
}
