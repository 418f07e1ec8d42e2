// What several screens say.

import { count, counted } from './counted'

export const units = {
  seconds: (number: string) => `${number} s`,
  minutes: (clock: string) => `${clock} min`,
  hours: (hours: number, minutes: number) => `${hours} h ${minutes} min`,
  bytes: ['B', 'kB', 'MB', 'GB', 'TB'],
  percent: (number: number) => `${number} %`,
  today: (time: string) => `today ${time}`,
  yesterday: (time: string) => `yesterday ${time}`,
}

export const common = {
  loading: 'Loading…',
  reading: 'Reading…',
  save: 'Save',
  saved: 'Saved',
  cancel: 'Cancel',
  close: 'Close',
  stop: 'Stop',
  none: 'none',
  free: 'Free',
  key: 'Key',
  loss: 'Loss',
  lora: 'LoRA',
  prompt: 'Prompt',
  steps: (number: number) => counted(number, 'step'),
  atStep: (step: number) => `Step ${count(step)}`,
  beforeTraining: 'Before training',
  useSettings: 'Use these settings',
  baseAlone: 'Base alone',
  basesOwn: 'the base’s own',
  promptNeeded: 'A prompt is needed.',
  strength: 'Strength',
  strengthOf: (lora: string) => `Strength of ${lora}`,
  at: (lora: string, strength: string) => `${lora} at ${strength}`,
  seed: (seed: number) => `seed ${seed}`,
  uploading: (share: number) => `Uploading, ${share} %`,
  placeOf: (at: string, length: string) => `${at} of ${length}`,
  didNotWork: 'That did not work',
}

export const bar = {
  skip: 'Skip to content',
  main: 'Main',
  train: 'Train',
  try: 'Try',
  history: 'History',
  settings: 'Settings',
  waiting: 'Waiting',
  training: (share: number) => `Training ${share} %`,
  running: 'Running',
}

export const banner = {
  offline:
    'The server can’t be reached. Is `soundlora serve` still running? Runs go on by themselves; this page comes back when the server does.',
  unknownKey: 'The server does not know this key.',
  asksKey: 'This server asks for a key.',
  enterKey: '{Enter it in Settings}.',
}

/** What runs and their stages are called. */
export const names = {
  stages: {
    base: 'Getting ready',
    clips: 'Preparing the clips',
    contexts: 'Reading the captions',
    training: 'Training',
    previews: 'Making previews',
    sampling: 'Generating',
    saving: 'Storing the results',
    done: 'Done',
  },
  starting: 'Starting',
  ahead: (number: number) => `Waiting, ${number} ahead`,
  next: 'Waiting, next in line',
  stopping: 'Stopping',
  succeeded: 'Done',
  failed: 'Failed',
  cancelled: 'Cancelled',
  run: (id: string) => `Run ${id}`,
  atStep: (title: string, step: number) => `${title}, step ${count(step)}`,
}

export const marks = {
  star: (name: string) => `Star ${name}`,
  favourite: 'A favourite',
  makeFavourite: 'Make it a favourite',
  name: 'Name',
  nameOf: (title: string) => `Name of ${title}`,
  nameIt: 'Name it',
  note: 'Note',
  noteExample: 'What you heard, what to try next',
  notSaved: (problem: string) => `Not saved: ${problem}`,
  kept: 'Your text is kept here.',
}
