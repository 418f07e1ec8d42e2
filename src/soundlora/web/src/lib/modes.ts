// What a LoRA can learn: each mode has an endpoint of its own, and needs something beside each clip.

const TRAINERS = 'fal-ai/ltx23-trainer-v2/'

export type ModeName = 't2a' | 'extend-prefix' | 'extend-suffix' | 'inpaint' | 'a2a'

export interface Mode {
  name: ModeName
  endpoint: string
  title: string
  about: string
  /** What to drop. */
  data: string
}

const BESIDE = 'beside each a text file of the same name that says what is heard'

export const MODES: Mode[] = [
  {
    name: 't2a',
    endpoint: `${TRAINERS}t2a`,
    title: 'Text to audio',
    about: 'A sound from its caption.',
    data: `Ten or more recordings, and ${BESIDE}.`,
  },
  {
    name: 'extend-prefix',
    endpoint: `${TRAINERS}audio-extend-prefix`,
    title: 'Go on from a start',
    about: 'The start is given, the rest is learnt.',
    data: `Ten or more recordings, and ${BESIDE}. Of each the start is given.`,
  },
  {
    name: 'extend-suffix',
    endpoint: `${TRAINERS}audio-extend-suffix`,
    title: 'Lead into an end',
    about: 'The end is given, what leads into it is learnt.',
    data: `Ten or more recordings, and ${BESIDE}. Of each the end is given.`,
  },
  {
    name: 'inpaint',
    endpoint: `${TRAINERS}audio-inpaint`,
    title: 'Mend spans',
    about: 'All but some spans is given, they are learnt.',
    data: `Ten or more recordings, and ${BESIDE}. You mark what is made anew here, or bring NAME_mask.json.`,
  },
  {
    name: 'a2a',
    endpoint: `${TRAINERS}a2a`,
    title: 'Turn one sound into another',
    about: 'One sound is given, what becomes of it is learnt.',
    data: 'Ten or more pairs: NAME_start is given, NAME_end is what becomes of it, and NAME.txt says what is heard then.',
  },
]

export function modeNamed(name: ModeName): Mode {
  return MODES.find((mode) => mode.name === name)!
}

/** The mode that an endpoint trains, by whichever of its names; null for what is no training. */
export function modeOf(endpoint: string): Mode | null {
  if (endpoint === `${TRAINERS}ic-lora/a2a`) return modeNamed('a2a')
  return MODES.find((mode) => mode.endpoint === endpoint) ?? null
}
