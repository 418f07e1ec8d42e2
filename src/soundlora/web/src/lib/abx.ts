// A blind test: X is A or B, drawn anew for each trial; how often it is told says whether a difference is heard.

import { words } from './words'

export interface Test {
  /** Of each trial, whether X is A. */
  drawn: boolean[]
  /** Of each trial that is answered, whether X was said to be A. */
  said: boolean[]
}

export const LENGTHS = [5, 10, 16, 25]

/** What chance brings this often at most counts as heard. */
const RARE = 0.05

export function begun(trials: number, random: () => number = Math.random): Test {
  return { drawn: Array.from({ length: trials }, () => random() < 0.5), said: [] }
}

export function answered(test: Test, isA: boolean): Test {
  return ended(test) ? test : { ...test, said: [...test.said, isA] }
}

export function ended(test: Test): boolean {
  return test.said.length === test.drawn.length
}

export function right(test: Test): number {
  return test.said.filter((isA, trial) => isA === test.drawn[trial]).length
}

/** How probable it is that guessing gives at least so many of `trials` right. */
export function chance(rights: number, trials: number): number {
  let [ways, sum] = [1, 0] // of choosing k of the trials, from all of them down
  for (let k = trials; k >= rights; k -= 1) {
    sum += ways
    ways = (ways * k) / (trials - k + 1)
  }
  return sum / 2 ** trials
}

/** The score in plain words. */
export function verdict(rights: number, trials: number): string {
  const p = chance(rights, trials)
  if (p <= RARE) return words.blind.heard(rights, trials, Math.round(1 / p))
  if (chance(trials - rights, trials) <= RARE / 2) return words.blind.swapped(rights, trials)
  return words.blind.chance(rights, trials, Math.round(100 * p))
}
