// The Train screen around its data and fields.

import { count } from './counted'

export const train = {
  title: 'Teach it your sound',
  lead: 'Drop recordings, say what they are, and hear the model learn them. The result is a LoRA for LTX 2.3.',
  notShown: 'The form can’t be shown yet',
  settings: 'Settings',
  view: 'View of the request',
  form: 'Form',
  json: 'JSON',
  code: 'Code',
  triggerExample: 'rusty gate',
  promptExample: (trigger: string) => `${trigger} …`,
  additional: 'Additional settings',
  andMore: (names: string) => `– ${names} and more`,
  extras: (names: string) => `Sent along, without a field here: ${names}`,
  asJson: 'Request as JSON',
  start: 'Start',
  steps: 'Steps',
  timeHere: 'Time here',
  about: (time: string) => `about ${time}`,
  price: 'Price',
  free: 'Free on your machine',
  hosted: (cost: string) => `hosted: ${cost}`,
  begin: 'Start training',
  beginning: 'Starting…',
  notStarted: 'Not started',
  markFirst: 'Mark what is to be mended first.',
  lacksHalf: 'Each sound needs its other half.',
  uploadFirst: 'Upload and check the clips first.',
  addFirst: 'Add your sounds first.',
  unusable: 'These data can’t be used.',
  noClip: 'No clip can be used with these settings.',
  mendJson: 'The JSON needs mending.',
  mend: (names: string) => `Mend ${names} first.`,
}

export const cost = {
  free: 'Free on this machine',
  formula: (price: string, steps: number, sum: string) => `${price} × steps; with ${count(steps)} steps: ${sum}`,
}

export const code = {
  language: 'Language',
  copy: 'Copy',
  copied: 'Copied',
  code: 'Code',
}
