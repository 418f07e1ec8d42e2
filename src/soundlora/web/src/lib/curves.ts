// Curves of a run.

export type Point = [step: number, value: number]

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
  const smoothed = new Map(smooth(loss))
  const raw = new Map(loss)
  const held = new Map(heldOut)
  const steps = [...new Set([...raw.keys(), ...held.keys()])].sort((a, b) => a - b)
  const column = (values: Map<number, number>) => steps.map((step) => values.get(step) ?? null)
  return [steps, column(raw), column(smoothed), column(held)]
}
