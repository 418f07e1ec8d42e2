// Numbers as people read them.

/** 0.45 → "0.45 s", 5.5 → "5.5 s", 95 → "1:35 min", 4000 → "1 h 7 min". */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–'
  if (seconds < 60) return `${trimmed(seconds, seconds < 1 ? 2 : seconds < 10 ? 1 : 0)} s`
  const whole = Math.round(seconds)
  if (whole < 3600) return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')} min`
  const minutes = Math.round(whole / 60)
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** At most `digits` decimals, without trailing zeros. */
export function trimmed(value: number, digits: number): string {
  return String(Number(value.toFixed(digits)))
}

export function bytes(size: number): string {
  if (size < 1000) return `${size} B`
  const units = ['kB', 'MB', 'GB', 'TB']
  let unit = -1
  while (size >= 999.5 && unit < units.length - 1) {
    size /= 1000
    unit += 1
  }
  return `${trimmed(size, size < 10 ? 1 : 0)} ${units[unit]}`
}

export function count(value: number): string {
  return value.toLocaleString('en-US')
}

/** Dollars: two decimals, more where two would be nothing. */
export function money(dollars: number): string {
  return `$${dollars !== 0 && dollars < 0.01 ? trimmed(dollars, 4) : dollars.toFixed(2)}`
}

/** Seconds since 1970 → "today 14:03", "yesterday 9:00" or "3 Feb 2026". */
export function moment(at: number, now: Date = new Date()): string {
  const date = new Date(at * 1000)
  const time = date.toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' })
  const day = (d: Date) => new Date(d.getFullYear(), d.getMonth(), d.getDate()).getTime()
  const days = Math.round((day(now) - day(date)) / 86_400_000)
  if (days === 0) return `today ${time}`
  if (days === 1) return `yesterday ${time}`
  return date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short', year: 'numeric' })
}

export function plural(number: number, one: string, many = `${one}s`): string {
  return `${count(number)} ${number === 1 ? one : many}`
}
