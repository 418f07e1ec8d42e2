// The clips of a training: dropped, listed, captioned, cut, marked.

import { clips, count, counted, form } from './counted'

export const drop = {
  region: 'Training data',
  title: 'Drop a folder of clips, or a zip',
  files: 'Choose files or a zip',
  folder: 'Choose a folder',
  filesField: 'Zip or audio files',
  folderField: 'Folder of clips',
  address: 'Address of a zip',
  addressExample: 'or the address of a zip: https://…',
  use: 'Use',
  nothing: 'Nothing at hand?',
  example: 'Start with example sounds',
  exampleName: 'laser zaps',
  addTo: (name: string) => `Drop to add to ${name}`,
  anywhere: 'Drop your sounds anywhere',
}

export const dataset = {
  region: 'Data set',
  again: 'Checking again…',
  listening: 'Listening to every clip…',
  allMarked: 'Every clip has its spans.',
  unmarked: (number: number) => `${clips(number)} without a span yet`,
  unpaired: (number: number) => `Not sent: ${form(number, { one: 'a sound lacks', other: `${count(number)} sounds lack` })} the other half`,
  uploadStopped: 'The upload was stopped.',
  kept: (kept: number, all: number) => `${count(kept)} of ${clips(all)} will be trained on`,
  first: (seen: number, kept: number, bucket: string) => ` · a first look at ${clips(seen)}: ${count(kept)} ${form(kept, { one: 'fills', other: 'fill' })} ${bucket} s`,
  part: (used: string, whole: string) => ` · ${used} of ${whole} of sound`,
  changed: (what: string) => ` · ${what} changed, uploaded again at the start`,
  captions: 'captions',
  spans: 'spans',
  both: 'captions and spans',
  uploadAndCheck: 'Upload and check',
  upload: 'Upload',
  tryAgain: 'Try again',
  other: 'Use other data',
  unusable: 'These data can’t be used yet',
  markAll: 'Drag over each waveform to mark what is made anew, or write its seconds below. Each clip needs a span; what lies outside is given.',
  missing: 'What is missing',
  refused: 'Training would refuse this',
  advice: 'Advice',
  long: (used: string, number: number, whole: string) =>
    `${used} of ${counted(number, 'long recording')} of ${whole} ${form(number, { one: 'is', other: 'are' })} used.`,
  cut: (name: string) => `Cut ${name}`,
  which: 'Which clips',
  all: (number: number) => `All ${count(number)}`,
  keptOnes: (number: number) => `Kept ${count(number)}`,
  skippedOnes: (number: number) => `Skipped ${count(number)}`,
  passedOver: (number: number) => `${counted(number, 'file')} passed over`,
  files: (number: number) => counted(number, 'file'),
  gone: 'The clips of that run are not kept here any more. To edit captions, choose “Use other data” and drop the clips again.',
  noAudio: 'No audio files were found in what you dropped.',
  audioFormats: 'wav, mp3, flac, ogg, aac and m4a are read.',
  nothingNew: 'Nothing in what you dropped is a sound, or the caption or mask of one.',
  unreadable: (problem: string) => `What you dropped can’t be read: ${problem}`,
  full: 'The browser has no room to keep these clips, so a reload loses them; all else works.',
  unkept: 'This browser keeps nothing, as in a private window, so a reload loses what is here; all else works.',
  stray: (name: string) => `${name} is neither NAME_start nor NAME_end.`,
  half: (name: string, other: string) => `${name} has no ${other} beside it.`,
  noSpan: (name: string) => `${name} has no span yet.`,
  silent: 'silent',
  tooShort: (length: string, bucket: string) => `${length} s long, shorter than ${bucket} s`,
}

export const clipsTable = {
  clips: 'Clips',
  keys: '[Enter] goes to the next caption, with Shift to the one before. [Ctrl]+[Enter] plays, [Ctrl]+[D] takes the caption above, [Esc] goes on to the settings.',
}

export const clip = {
  given: 'Given',
  becomes: 'What becomes of it',
  from: (start: string) => `From ${start} s on, of the recording above`,
  later: 'Heard once it is trained on',
  captionOf: (name: string) => `Caption of ${name}`,
  trigger: 'The trigger phrase stands in front',
  noCaptionYet: 'No caption: what is heard?',
  noCaption: 'No caption',
  kept: 'Kept',
  skipped: 'Skipped',
}

/** What the server says too, of captions that it has not seen yet. */
export const captions = {
  triggerAlone: 'it has no caption: the trigger phrase stands alone',
  empty: 'it has no caption: it is trained with an empty caption',
  long: (most: number) => `its caption is longer than ${most} characters and is cut there`,
  alike: 'All captions are alike; the model learns to tell sounds apart only where captions differ.',
  without: (number: number, all: number) => `${clips(number)} of ${all} ${form(number, { one: 'has', other: 'have' })} no caption, the others do.`,
  tags: (number: number) => `${number} as a list of tags`,
  sentence: (number: number) => `${number} as a sentence`,
  phrase: (number: number) => `${number} as a phrase`,
  mixed: (kinds: string) => `Captions are written in different ways: ${kinds}; write all in the way you will write prompts.`,
}

export const captionTools = {
  title: 'Captions of many clips',
  fromNames: 'From file names',
  writeFromNames: (number: number) => `Write ${counted(number, 'empty one')} from file names`,
  fromAbove: 'Fill from above',
  fillFromAbove: (number: number) => `Fill ${counted(number, 'empty one')} from above`,
  find: 'Find',
  findLabel: 'Find in captions',
  replaceWith: 'Replace with',
  replace: 'Replace',
  replaceIn: (number: number) => `Replace in ${counted(number, 'caption')}`,
  undo: 'Undo',
}

export const lengths = {
  ofEach: (bucket: string) => `${bucket} s of each clip`,
  reach: (kept: number, all: number, seconds: string) => `· ${count(kept)} of ${clips(all)} long enough · ${seconds} s of sound`,
  allOfEach: (bucket: string) => `All ${bucket} s that fit`,
  windows: (made: number, recordings: number, seconds: string) => `· ${clips(made)} of ${counted(recordings, 'recording')} · ${seconds} s of sound`,
  keeps: (number: number, seconds: string) => `Keeps ${clips(number)}, ${seconds} s of sound`,
  mostSound: (length: string) => `${length} s: most sound`,
  mostClips: (length: string) => `${length} s: most clips`,
  mostOfBoth: (length: string) => `${length} s: most clips and sound`,
  clipLength: 'Clip length',
  toldWindows: (bucket: string, made: number) => `${bucket} seconds, ${clips(made)}`,
  told: (bucket: string, kept: number, all: number) => `${bucket} seconds, ${kept} of ${all} clips`,
}

export const cuts = {
  about: (number: number, used: string, whole: string) =>
    `${clips(number)}, ${used} of ${whole}. Silence is left out. Each becomes a WAV of its own with this caption.`,
  silent: 'This recording is silent from start to end.',
  unreadable: 'This browser can’t read this recording.',
  clip: (number: number) => `Clip ${number}`,
  fromTo: (start: string, end: string) => `${start} to ${end} s`,
  out: ', left out',
  short: ', too short to be used',
  startOf: (number: number) => `Start of clip ${number}`,
  endOf: (number: number) => `End of clip ${number}`,
  listen: 'Listen',
  split: 'Split',
  join: 'Join with the next',
  takeIt: 'Take it',
  leaveOut: 'Leave it out',
  use: (number: number) => `Use ${clips(number)}`,
}

export const spans = {
  of: (name: string) => `Spans of ${name}`,
  start: (number: number, name: string) => `Start of span ${number} of ${name} in seconds`,
  end: (number: number, name: string) => `End of span ${number} of ${name} in seconds`,
  to: 'to',
  seconds: 's',
  remove: 'Remove',
  removeOne: (number: number, name: string) => `Remove span ${number} of ${name}`,
  add: 'Add a span',
  addTo: (name: string) => `to ${name}`,
  numbers: 'Two numbers of seconds are needed.',
  early: 'It can’t begin before the clip.',
  order: 'It must end after it starts.',
  late: (end: string) => `The clip ends at ${end} s.`,
}

export const zip = {
  large: 'The folder is larger than 4 GB; make a zip of it yourself and drop that.',
  many: 'The folder has more than 65,535 files.',
  none: 'This is not a zip file.',
  wide: 'This zip is in the 64-bit format.',
  damaged: 'The directory of this zip is damaged.',
  encrypted: 'This zip is encrypted.',
  unusual: 'This zip is packed in an unusual way.',
  cutOff: 'This zip is cut off.',
}
