// The fields of a request, what is wrong with their values, and what can be learnt.

const BESIDE = 'beside each a text file of the same name that says what is heard'

export const modes = {
  question: 'What should it learn?',
  legend: 'Full bars are given, hollow ones are learnt.',
  t2a: {
    title: 'Text to audio',
    about: 'A sound from its caption.',
    data: `Ten or more recordings, and ${BESIDE}.`,
  },
  'extend-prefix': {
    title: 'Go on from a start',
    about: 'The start is given, the rest is learnt.',
    data: `Ten or more recordings, and ${BESIDE}. Of each the start is given.`,
  },
  'extend-suffix': {
    title: 'Lead into an end',
    about: 'The end is given, what leads into it is learnt.',
    data: `Ten or more recordings, and ${BESIDE}. Of each the end is given.`,
  },
  inpaint: {
    title: 'Mend spans',
    about: 'All but some spans is given, they are learnt.',
    data: `Ten or more recordings, and ${BESIDE}. You mark what is made anew here, or bring NAME_mask.json.`,
  },
  a2a: {
    title: 'Turn one sound into another',
    about: 'One sound is given, what becomes of it is learnt.',
    data: 'Ten or more pairs: NAME_start is given, NAME_end is what becomes of it, and NAME.txt says what is heard then.',
  },
}

export const fields = {
  /** Fields that are not here are called after their names. */
  titles: {
    training_data_url: 'Training data url',
    rank: 'Rank',
    number_of_steps: 'Steps',
    learning_rate: 'Learning rate',
    trigger_phrase: 'Trigger phrase',
    audio_duration_seconds: 'Clip length',
    audio_normalize: 'Normalise levels',
    audio_preserve_pitch: 'Preserve pitch',
    validation: 'Preview prompts',
    validation_negative_prompt: 'Negative prompt for previews',
    validation_frame_rate: 'Preview frame rate',
    stg_scale: 'STG scale',
    debug_dataset: 'Return the prepared data set',
    name: 'Name',
    adapter: 'Adapter',
    alpha: 'Alpha',
    rslora: 'rsLoRA',
    schedule: 'Schedule',
    warmup: 'Warmup steps',
    b_rate: 'Rate of B',
    caption_dropout: 'Caption dropout',
    preserve: 'Preserve the base',
    noise_levels: 'Noise levels',
    shorter_durations: 'Shorter durations',
    short: 'Short',
    windows: 'Windows',
    captions_from: 'Captions from',
    caption_template: 'Caption template',
    optimizer: 'Optimizer',
    condition_probability: 'Share with a given part',
    conditioning_seconds: 'Seconds that are given',
    base: 'Base',
  },
  default: (value: string) => `default ${value}`,
  needed: '(needed)',
  soundOf: (number: number) => `Sound of prompt ${number}`,
}

export const form = {
  needed: 'This is needed.',
  value: 'A value is needed.',
  number: 'A number is needed.',
  whole: 'A whole number is needed.',
  mustBe: (range: string) => `It must be ${range}.`,
  oneOf: (choices: string) => `It must be one of ${choices}.`,
  trueOrFalse: 'It must be true or false.',
  text: 'Text is needed.',
  prompts: 'A list of prompts is needed.',
  mostPrompts: (most: number) => `At most ${most} prompts are allowed.`,
  prompt: 'Each entry needs a "prompt".',
  sound: 'Each prompt needs a sound.',
  span: 'Each sound needs a span that is made anew.',
  shorter: (length: string) => `It must be less than the clip length, ${length} s.`,
  moreThan: (above: string) => `more than ${above}`,
  moreThanAtMost: (above: string, most: string) => `more than ${above} and at most ${most}`,
  fromTo: (least: string, most: string) => `from ${least} to ${most}`,
  atLeast: (least: string) => `at least ${least}`,
  atMost: (most: string) => `at most ${most}`,
  object: 'The request must be an object, such as {"rank": 32}.',
  notJson: (problem: string) => `This is not JSON yet: ${problem}.`,
}
