import { expect, test } from 'vitest'
import { parallel } from './parallel'

const soon = () => new Promise<void>((resolve) => setTimeout(resolve, 0))

test('results stand in the order of the items, and no more work than is allowed at a time', async () => {
  let [now, most] = [0, 0]
  const found = await parallel([5, 1, 4, 2, 3], 2, async (item, n) => {
    most = Math.max(most, (now += 1))
    for (let turn = 0; turn < item; turn += 1) await soon()
    now -= 1
    return `${n}:${item}`
  })
  expect(found).toEqual(['0:5', '1:1', '2:4', '3:2', '4:3'])
  expect(most).toBe(2)
  expect(await parallel([], 3, soon)).toEqual([])
})

test('after a failure nothing begins', async () => {
  const begun: number[] = []
  const work = async (item: number) => {
    begun.push(item)
    await soon()
    if (item === 2) throw new Error('no')
    await soon()
  }
  await expect(parallel([1, 2, 3, 4, 5], 2, work)).rejects.toThrow('no')
  for (let turn = 0; turn < 5; turn += 1) await soon()
  expect(begun).toEqual([1, 2])
})
