// Numbers as people read them, in the language of the page.

import { words } from './words'

const { units, locale } = words

/** 0.45 → "0.45 s", 5.5 → "5.5 s", 95 → "1:35 min", 4000 → "1 h 7 min". */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–'
  if (seconds < 60) return units.seconds(trimmed(seconds, seconds < 1 ? 2 : seconds < 10 ? 1 : 0))
  const whole = Math.round(seconds)
  if (whole < 3600) return units.minutes(`${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`)
  const minutes = Math.round(whole / 60)
  return units.hours(Math.floor(minutes / 60), minutes % 60)
}

const formats = new Map<string, Intl.NumberFormat>()

/** To make a format takes far longer than to use it. */
function written(value: number, options: Intl.NumberFormatOptions): string {
  const key = JSON.stringify(options)
  const format = formats.get(key) ?? new Intl.NumberFormat(locale.numbers, { useGrouping: false, signDisplay: 'negative', ...options })
  formats.set(key, format)
  return format.format(value)
}

/** At most `digits` decimals, without trailing zeros. */
export function trimmed(value: number, digits: number): string {
  return written(value, { maximumFractionDigits: digits })
}

/** So many decimals. */
export function fixed(value: number, digits: number): string {
  return written(value, { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

export function bytes(size: number): string {
  let unit = 0
  while (size >= (unit ? 999.5 : 1000) && unit < units.bytes.length - 1) {
    size /= 1000
    unit += 1
  }
  return `${trimmed(size, unit && size < 10 ? 1 : 0)} ${units.bytes[unit]}`
}

export function count(value: number): string {
  return written(value, { useGrouping: true })
}

/** Dollars: two decimals, more where two would be nothing. */
export function money(dollars: number): string {
  const digits = dollars !== 0 && dollars < 0.01 ? 4 : 2
  return written(dollars, { style: 'currency', currency: 'USD', minimumFractionDigits: 2, maximumFractionDigits: digits })
}

/** Seconds since 1970 → "14:03:27". */
export function clock(at: number): string {
  return new Date(at * 1000).toLocaleTimeString(locale.dates)
}

/** Seconds since 1970 → "today 14:03", "yesterday 9:00" or "3 Feb 2026". */
export function moment(at: number, now: Date = new Date()): string {
  const date = new Date(at * 1000)
  const time = date.toLocaleTimeString(locale.dates, { hour: '2-digit', minute: '2-digit' })
  const day = (d: Date) => new Date(d.getFullYear(), d.getMonth(), d.getDate()).getTime()
  const days = Math.round((day(now) - day(date)) / 86_400_000)
  if (days === 0) return units.today(time)
  if (days === 1) return units.yesterday(time)
  return date.toLocaleDateString(locale.dates, { day: 'numeric', month: 'short', year: 'numeric' })
}
