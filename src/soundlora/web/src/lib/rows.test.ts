import { expect, test } from 'vitest'
import type { LocalClip } from './clips'
import { rowsOf } from './rows'
import type { ClipReport, DatasetReport } from './types'

const clip = (name: string): LocalClip => ({ name, blob: new Blob(), caption: '', original: '', spans: [], originalSpans: [] })
const told = (name: string, seconds: number, status: 'kept' | 'skipped' = 'kept'): ClipReport =>
  ({ name, status, caption: '', reason: status === 'kept' ? null : 'it is silent', problem: status === 'kept' ? null : 'silent', seconds, offset: 0, warnings: [] })
const report = (duration: number, clips: ClipReport[]): DatasetReport =>
  ({ duration, suggestions: [], kept: 0, skipped: 0, total_seconds: 0, source_seconds: 0, windows: 'first', warnings: [], ignored: [], clips, refusal: null })

test('clips before there is a report', () => {
  expect(rowsOf([clip('a.wav')], null, 5, 't2a')).toMatchObject([{ name: 'a.wav', kept: null, start: null }])
  expect(rowsOf([clip('a_start.wav'), clip('a_end.wav')], null, 5, 'a2a')).toMatchObject([
    { name: 'a_end.wav', start: { name: 'a_start.wav' }, local: { name: 'a_end.wav' } },
  ])
})

test('a clip is found by its path, and else by its base name', () => {
  const rows = rowsOf([clip('one/a.wav'), clip('two/a.wav'), clip('set/b.wav')], report(5, [told('two/a.wav', 6), told('one/a.wav', 6), told('b.wav', 6)]), 5, 't2a')
  expect(rows.map((row) => row.local?.name)).toEqual(['two/a.wav', 'one/a.wav', 'set/b.wav'])
})

test('while the line is dragged the length decides', () => {
  const clips = [told('a.wav', 6), told('b.wav', 3), told('c.wav', 9, 'skipped')]
  expect(rowsOf([], report(5, clips), 8, 't2a')).toMatchObject([
    { kept: false, reason: '6 s long, shorter than 8 s' },
    { kept: false, reason: '3 s long, shorter than 8 s' },
    { kept: false, reason: 'it is silent' },
  ])
  expect(rowsOf([], report(5, clips), 2, 't2a').map((row) => row.kept)).toEqual([true, true, false])
})

test('later windows of a recording stay as they were told, and have no caption of their own', () => {
  const later = { ...told('a.wav @ 5 s', 11), offset: 5 }
  const rows = rowsOf([clip('a.wav')], report(5, [told('a.wav', 11), later]), 12, 't2a')
  expect(rows.map((row) => [row.local?.name, row.kept])).toEqual([['a.wav', false], [undefined, true]])
})
