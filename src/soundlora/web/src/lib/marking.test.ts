import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { AGAIN, Marking, PAUSE, unsaved, type Text } from './marking'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** A server that answers when it is told to, and a store. */
function scene(had: Text = { name: '', note: '' }, kept: Record<string, string> = {}) {
  const sent: Partial<Text>[] = []
  const answers: ((well: boolean) => Promise<void>)[] = []
  const told: [string, boolean][] = []
  const store = {
    getItem: (key: string) => kept[key] ?? null,
    setItem: (key: string, value: string) => void (kept[key] = value),
    removeItem: (key: string) => void delete kept[key],
  }
  const marking = new Marking('id', had, {
    send: (change) => {
      sent.push(change)
      return new Promise((resolve, reject) => {
        answers.push(async (well) => {
          if (well) resolve()
          else reject(new Error('gone'))
          await vi.advanceTimersByTimeAsync(0)
        })
      })
    },
    told: (problem, saved) => told.push([problem, saved]),
    problem: () => ({ sentence: 'It is away.', passing: true }),
    store,
  })
  return { marking, sent, answers, told, kept }
}

test('what is typed is sent once typing pauses, and only what was changed', async () => {
  const { marking, sent, answers, told, kept } = scene()
  marking.write('name', 'K')
  await vi.advanceTimersByTimeAsync(PAUSE - 1)
  marking.write('name', 'Kick')
  await vi.advanceTimersByTimeAsync(PAUSE - 1)
  expect(sent).toEqual([])
  await vi.advanceTimersByTimeAsync(1)
  expect(sent).toEqual([{ name: 'Kick' }])
  expect(Object.keys(kept)).toEqual(['soundlora.unsaved.id'])
  await answers[0]!(true)
  expect(told.at(-1)).toEqual(['', true])
  expect(kept).toEqual({})
})

test('what is typed while something is under way follows it', async () => {
  const { marking, sent, answers, kept } = scene()
  marking.write('note', 'a')
  void marking.flush()
  marking.write('note', 'ab')
  await vi.advanceTimersByTimeAsync(PAUSE)
  expect(sent).toEqual([{ note: 'a' }])
  await answers[0]!(true)
  expect(sent).toEqual([{ note: 'a' }, { note: 'ab' }])
  expect(kept['soundlora.unsaved.id']).toContain('"ab"')
  await answers[1]!(true)
  expect(kept).toEqual({})
})

test('a save that fails says so, keeps the text, and is tried again with what came later', async () => {
  const { marking, sent, answers, told, kept } = scene()
  marking.write('note', 'a')
  void marking.flush()
  marking.write('name', 'N')
  await answers[0]!(false)
  expect(told.at(-1)).toEqual(['It is away.', false])
  expect(kept['soundlora.unsaved.id']).toContain('"a"')
  await vi.advanceTimersByTimeAsync(AGAIN)
  expect(sent[1]).toEqual({ note: 'a', name: 'N' })
  await answers[1]!(true)
  expect(marking.busy).toBe(false)
})

test('leaving sends what waits at once', async () => {
  const { marking, sent, answers } = scene()
  marking.leave()
  marking.write('note', 'a')
  void marking.flush()
  marking.write('note', 'ab')
  marking.leave()
  expect(sent).toEqual([{ note: 'a' }, { note: 'ab' }])
  await answers[1]!(true)
})

test('what never arrived is back when the run is opened again', async () => {
  const kept: Record<string, string> = {}
  scene({ name: '', note: 'old' }, kept).marking.write('note', 'new')
  const again = scene({ name: '', note: 'old' }, kept)
  expect(again.marking.begin()).toEqual({ note: 'new' })
  await vi.advanceTimersByTimeAsync(PAUSE)
  expect(again.sent).toEqual([{ note: 'new' }])
  // It had arrived after all.
  expect(scene({ name: '', note: 'new' }, kept).marking.begin()).toEqual({})
})

test('of two who wrote, no note is lost, and the later name stays', () => {
  const kept = { note: { had: 'a', typed: 'ab' }, name: { had: 'x', typed: 'y' } }
  expect(unsaved(kept, { note: 'a', name: 'x ' })).toEqual({ note: 'ab', name: 'y' })
  expect(unsaved(kept, { note: 'other', name: 'z' })).toEqual({ note: 'other\n\nab' })
  expect(unsaved(kept, { note: 'now ab too', name: 'y' })).toEqual({})
})
