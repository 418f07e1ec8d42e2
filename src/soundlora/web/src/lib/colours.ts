// The colours of sound pictures: from the dark of the page over the accent to paper, alike in both themes.

const STOPS: [at: number, red: number, green: number, blue: number][] = [
  [0, 20, 17, 20],
  [0.22, 46, 20, 44],
  [0.45, 122, 28, 52],
  [0.65, 207, 66, 34],
  [0.82, 250, 147, 73],
  [1, 255, 240, 214],
]

/** 256 colours as [r, g, b, a] between 0 and 1. */
export const HEAT: number[][] = Array.from({ length: 256 }, (_, index) => {
  const at = index / 255
  const upper = Math.max(1, STOPS.findIndex(([stop]) => stop >= at))
  const [low, ...from] = STOPS[upper - 1]!
  const [high, ...to] = STOPS[upper]!
  const share = (at - low) / (high - low)
  return [...from.map((value, i) => (value + (to[i]! - value) * share) / 255), 1]
})

const MORE = [217, 95, 14]
const LESS = [33, 102, 172]
const EQUAL = { light: [247, 245, 240], dark: [20, 17, 20] }

/** The colour of a difference between −1 and 1: blue is less, orange more, and nothing lies between them. */
export function diverging(value: number, look: 'light' | 'dark'): [number, number, number] {
  const share = Math.min(1, Math.abs(value))
  const [from, to] = [EQUAL[look], value < 0 ? LESS : MORE]
  return from.map((part, n) => Math.round(part + (to[n]! - part) * share)) as [number, number, number]
}

export function colour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()
}
