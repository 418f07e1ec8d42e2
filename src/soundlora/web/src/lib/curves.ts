// Curves of a run.

export type Point = [step: number, value: number]

export interface Curves {
  loss: Point[]
  held_out: Point[]
}

/** A curve with the points that have come: a run that goes on says some steps again, and the later value counts. */
export function extended(curve: Point[], news: Point[]): Point[] {
  if (!news.length) return curve
  const last = curve.at(-1)
  if (!last || last[0] < news[0]![0]) return [...curve, ...news]
  return [...new Map([...curve, ...news])].sort(([a], [b]) => a - b)
}

/** The curves of a run after an event, which brings what is new of them, or nothing. */
export function extendedAll(curves: Curves | undefined, news: Curves | undefined): Curves {
  return {
    loss: extended(curves?.loss ?? [], news?.loss ?? []),
    held_out: extended(curves?.held_out ?? [], news?.held_out ?? []),
  }
}

/** Exponential mean over the points, without the lean towards the first one. */
export function smooth(points: Point[], weight = 0.9): Point[] {
  let sum = 0
  let total = 0
  return points.map(([step, value]) => {
    sum = sum * weight + value * (1 - weight)
    total = total * weight + (1 - weight)
    return [step, sum / total]
  })
}

/** Rows [steps, loss, smoothed, held out] as a chart wants them: one list of steps, null where a curve has no point. */
export function columns(loss: Point[], heldOut: Point[]): [number[], ...(number | null)[][]] {
  return aligned([loss, smooth(loss), heldOut])
}

/** Any curves over one list of steps: [steps, a column a curve], null where a curve has no point. */
export function aligned(curves: Point[][]): [number[], ...(number | null)[][]] {
  const maps = curves.map((curve) => new Map(curve))
  const steps = [...new Set(maps.flatMap((map) => [...map.keys()]))].sort((a, b) => a - b)
  return [steps, ...maps.map((map) => steps.map((step) => map.get(step) ?? null))]
}
