// A run: how far it is, what it has made, what it leaves.

import { count, form } from './counted'

export const run = {
  noSuchRun: 'There is no such run',
  training: (mode: string) => `Training · ${mode}`,
  sound: 'Sound',
  ending: 'Ending…',
  stopAndKeep: 'Stop and keep',
  stopping: 'Stopping…',
  resume: 'Resume',
  trainOn: 'Train on…',
  again: 'Run again with changes',
  compare: 'Compare with another',
  progress: 'Progress',
  ofSteps: (number: number) => `of ${count(number)} steps`,
  perSecond: 'steps/s',
  left: 'left',
  steps: (number: number) => form(number, { one: 'step', other: 'steps' }),
  bar: 'Steps',
  soFar: 'so far',
  inAll: 'in all',
  hosted: (cost: string) => `${cost} hosted`,
  itEnds: 'It ends with the steps done: its LoRA, previews and verdict follow.',
  stopOrCancel: 'Stop and keep ends it here with a LoRA, previews and a verdict. Cancel leaves a checkpoint to resume from.',
  cancelled: 'This run was cancelled',
  happened: 'What happened',
  firstPreviews: 'The first previews come before the first step: what the base makes of your prompts.',
  noPrompts: 'This run has no preview prompts; its LoRA can be tried from its first checkpoint on.',
  saveSound: 'Save the sound',
}

export const previews = {
  region: 'Previews',
  title: 'Hear it learn',
  all: 'All previews',
  prompt: (number: number) => `Prompt ${number}`,
  base: 'Base',
  before: 'Base, before training',
  pick: (name: string, prompt: string) => `: compare ${name}, ${prompt}`,
}

export const results = {
  verdict: 'Verdict',
  next: 'Next',
  saveBest: (step: number) => `Save the LoRA of step ${step}, the best`,
  downloads: 'Downloads',
  files: 'Files',
  packing: 'Packing…',
  everything: 'Everything as a zip',
  loraAbout: 'The file to use',
  own: 'Adapter',
  ownAbout: 'The LoKr that was trained, of which the LoRA above is the nearest',
  config: 'Config',
  configAbout: 'Trigger phrase, base and kind of training',
  preview: 'Preview',
  previewAbout: 'All previews of the end in one file',
  dataset: 'Prepared data set',
  datasetAbout: 'The clips as they were trained on',
  report: 'Report',
  reportAbout: 'What became of each clip, and the verdict',
  download: (title: string) => `, download ${title}`,
  downloadStep: (step: number) => `, download step ${step}`,
  loraAt: (step: number) => `LoRA at step ${count(step)}`,
  howTo: 'How to use it',
  use: 'Use it',
  tryHere: 'Try it here',
  codeFor: (title: string) => `Code for ${title}`,
  yourSound: 'your sound',
}

export const uses = {
  commandLine: { title: 'Command line', steps: 'In the folder of the file:' },
  python: { title: 'Python', steps: 'With soundlora itself:' },
  nano: {
    title: 'ComfyUI, diffusers',
    steps: 'This LoRA belongs to nano, the small base of soundlora, and works with no other. Train on LTX for a LoRA that these load.',
  },
  comfyui: {
    title: 'ComfyUI',
    steps: (file: string) =>
      `Put ${file} into ComfyUI/models/loras. Load the base, add the node “Load LoRA (Model only)” behind the model, choose the file, and write the trigger phrase into the prompt.`,
  },
  diffusers: { title: 'diffusers', steps: 'Load it into the pipeline of its base.' },
}

export const learnt = {
  title: 'What it had learnt',
  keep: 'Keep what it learnt',
  about: '“Keep” makes the last previews and the verdict, too, and costs nothing. “Resume” trains on to the end.',
}

export const loss = {
  eachStep: 'each step',
  smoothed: 'smoothed',
  keptOut: 'clips kept out',
  none: 'Loss: no points yet',
  fromTo: (first: string, from: number, last: string, to: number) => `Loss from ${first} at step ${from} to ${last} at step ${to}`,
  heldOut: (loss: string, step: number) => `; on clips kept out ${loss} at step ${step}`,
  noneOf: (name: string) => `Loss of ${name}: no points yet.`,
  of: (name: string, loss: string, step: number) => `Loss of ${name}: ${loss} at step ${step}`,
  heldOutOf: (loss: string) => `, on clips kept out ${loss}`,
  dots: 'smoothed; with dots, on clips kept out',
}

export const levels = {
  keptOut: 'Loss by noise level, on clips kept out',
  trained: 'Loss by noise level, on clips it was trained on',
  level: 'Noise',
  base: 'Base',
  lora: 'LoRA',
}

export const heard = {
  clips: 'Clips',
  start: 'Before',
  lora: 'LoRA',
  distances: 'Distances are those from the clips; in their own column, of one half of them from the other.',
}

export const log = {
  title: 'Log',
  filterLabel: 'Filter the log',
  filter: 'Filter',
  which: 'Which lines',
  everything: 'Everything',
  warnings: 'Warnings',
  errors: 'Errors',
  lines: 'Lines of the log',
  warning: 'Warning',
  error: 'Error',
  noMatch: 'No line matches.',
  nothing: 'Nothing yet.',
}

export const trainOn = {
  form: 'Train on',
  about: 'A new run goes on where this one ended. This one stays as it is.',
  add: 'Steps to add',
  begin: 'Train on',
  beginning: 'Starting…',
  whole: 'A whole number of steps is needed.',
  few: (more: number) => `A run has at least 100 steps: add ${more} or more.`,
  many: (most: number) => `A run has at most ${count(most)} steps in all.`,
  inAll: (number: number) => `${count(number)} steps in all.`,
}
