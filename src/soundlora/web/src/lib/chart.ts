// Lines over the steps of a training, drawn by uPlot in the colours of the page.

import type uPlot from 'uplot'
import 'uplot/dist/uPlot.min.css'
import { colour } from './colours'

export const TALL = 240

/** Draw into `box`, from step 0 to `steps`; `ready` gets the chart. What is returned ends it. */
export function drawn(box: HTMLElement, steps: number, lines: () => uPlot.Series[], ready: (chart: uPlot | null) => void): () => void {
  let gone = false
  let chart: uPlot | null = null
  const size = () => ({ width: box.clientWidth, height: TALL })
  const watcher = new ResizeObserver(() => chart?.setSize(size()))
  void import('uplot').then(({ default: Plot }) => {
    if (gone) return
    const axis = {
      stroke: colour('muted'),
      font: "12px 'Instrument Sans'",
      grid: { stroke: colour('line'), width: 1 },
      ticks: { show: false },
    }
    const series = lines().map((line) => ({ spanGaps: true, points: { show: false }, ...line }))
    chart = new Plot(
      {
        ...size(),
        legend: { show: false },
        cursor: { points: { size: 7 }, drag: { x: false, y: false } },
        scales: { x: { time: false, range: () => [0, Math.max(steps, 1)] } },
        axes: [{ ...axis, grid: { show: false }, gap: 8 }, { ...axis, size: 46, gap: 8 }],
        series: [{}, ...series],
      },
      [[], ...series.map(() => [])] as unknown as uPlot.AlignedData,
      box,
    )
    watcher.observe(box)
    ready(chart)
  })
  return () => {
    gone = true
    watcher.disconnect()
    chart?.destroy()
    ready(null)
  }
}
