// How English writes numbers and dates, and the words that come with a number.

import { choosing } from '../plurals'

/** What Intl calls it; dates are written day first. */
export const locale = { numbers: 'en-US', dates: 'en-GB' }

const numbers = new Intl.NumberFormat(locale.numbers)

export const form = choosing(locale.numbers)

export function count(number: number): string {
  return numbers.format(number)
}

/** "1 clip", "1,200 clips". */
export function counted(number: number, one: string, other = `${one}s`): string {
  return `${count(number)} ${form(number, { one, other })}`
}

export const clips = (number: number) => counted(number, 'clip')
