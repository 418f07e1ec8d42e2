// Calls of the server's public routes; nothing else is ever called.

import { extendedAll } from './curves'
import { parallel } from './parallel'
import { OFFLINE, ServerError, problemFrom } from './problems'
import type { OpenApi, Values } from './schema'
import { session } from './session.svelte'
import type { Pieces } from './zip'
import type { DatasetReport, File as Result, Machine, Mark, Run, RunSummary } from './types'

/** The server's address as other programs name it. */
export const SERVER = new URL('.', location.href.split('#')[0]).href.replace(/\/$/, '')

/** A file of the server as this page reaches it, by whatever name the server calls itself. */
export function local(url: string): string {
  const at = url.indexOf('/files/')
  return at < 0 ? url : SERVER + url.slice(at)
}

function headers(): Record<string, string> {
  return session.key ? { Authorization: `Key ${session.key}` } : {}
}

async function call(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response
  try {
    response = await fetch(SERVER + path, { ...init, headers: { ...headers(), ...init.headers } })
  } catch (error) {
    if ((error as Error).name === 'AbortError') throw error
    session.offline = true
    throw new ServerError(OFFLINE)
  }
  session.offline = false
  if (response.ok) return response
  if (response.status === 401) session.refused = true
  const body = await response.json().catch(() => null)
  throw new ServerError(problemFrom(response.status, body, response.headers))
}

async function get<T>(path: string): Promise<T> {
  return (await call(path)).json()
}

async function send<T>(method: string, path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  const init = { method, signal, body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } }
  return (await call(path, init)).json()
}

export function openApi(endpoint: string): Promise<OpenApi> {
  return get(`/api/openapi/queue/openapi.json?endpoint_id=${encodeURIComponent(endpoint)}`)
}

export async function pricePerStep(endpoint: string): Promise<number | null> {
  const answer = await get<{ prices: { unit_price: number }[] }>(
    `/v1/models/pricing?endpoint_id=${encodeURIComponent(endpoint)}`,
  )
  return answer.prices[0]?.unit_price ?? null
}

export function machine(): Promise<Machine> {
  return get('/v1/machine')
}

/** What the key may take of the server, where null is without limit, and what it takes now. */
export interface Limits {
  max_running: number | null
  max_waiting: number | null
  budget: number | null
  weight: number
  running: number
  waiting: number
  used_this_month: number
  asked_for: number
  seconds_last_hour: number
}

export function limits(): Promise<Limits> {
  return get('/v1/limits')
}

export function inspect(request: Values, signal?: AbortSignal): Promise<DatasetReport> {
  return send('POST', '/v1/datasets/inspect', request, signal)
}

export async function submit(endpoint: string, request: Values): Promise<string> {
  return (await send<{ request_id: string }>('POST', `/${endpoint}`, request)).request_id
}

export async function cancel(run: { endpoint: string; id: string }): Promise<void> {
  await call(`/${run.endpoint}/requests/${run.id}/cancel`, { method: 'PUT' })
}

export async function resume(id: string): Promise<string> {
  return (await send<{ request_id: string }>('POST', `/v1/runs/${id}/resume`, {})).request_id
}

/** End a training with what it has learnt; the id of the request that will have it. */
export async function stop(id: string): Promise<string> {
  return (await send<{ request_id: string }>('POST', `/v1/runs/${id}/stop`, {})).request_id
}

export async function trainOn(id: string, steps: number): Promise<string> {
  return (await send<{ request_id: string }>('POST', `/v1/runs/${id}/continue`, { number_of_steps: steps })).request_id
}

export async function forget(id: string): Promise<void> {
  await call(`/v1/models/requests/${id}/payloads`, { method: 'DELETE' })
}

/** Change a star, a name or a note; what is not named stays. With `keepalive` it is sent even though the page goes. */
export async function mark(id: string, change: Partial<Mark>, keepalive = false): Promise<void> {
  const headers = { 'Content-Type': 'application/json' }
  await call(`/v1/runs/${id}`, { method: 'PATCH', keepalive, body: JSON.stringify(change), headers })
}

export interface Page {
  runs: RunSummary[]
  next: number | null
}

export function runs(filter: Record<string, string>): Promise<Page> {
  return get(`/v1/runs?${new URLSearchParams(filter)}`)
}

export function run(id: string): Promise<Run> {
  return get(`/v1/runs/${id}`)
}

/** Follow a run until it has ended or `signal` says stop; comes back by itself after a lost connection. */
export async function follow(id: string, onChange: (change: Partial<Run>) => void, signal: AbortSignal): Promise<void> {
  let pause = 500
  let after = 0
  while (!signal.aborted) {
    try {
      const response = await call(`/v1/runs/${id}/events?after=${after}`, { signal })
      pause = 500
      for await (const change of events(response)) {
        after = Math.max(after, ...(change.logs ?? []).map((line) => line.number))
        onChange(change)
        if (change.state === 'completed') return
      }
    } catch (error) {
      if (signal.aborted || (error instanceof ServerError && [401, 404].includes(error.problem.status))) throw error
      session.offline = true
    }
    await new Promise((resolve) => setTimeout(resolve, pause))
    pause = Math.min(pause * 1.6, 8000)
  }
}

/** A run after an event: what has changed of it, and what is new of its log and its curves. */
export function merged(run: Run | null, change: Partial<Run>): Run {
  const logs = [...(run?.logs ?? []), ...(change.logs ?? [])]
  return { ...(run ?? ({} as Run)), ...change, logs, curves: extendedAll(run?.curves, change.curves) }
}

async function* events(response: Response): AsyncGenerator<Partial<Run>> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  while (true) {
    const { value, done } = await reader.read()
    if (done) return
    rest += value
    const messages = rest.split('\n\n')
    rest = messages.pop()!
    for (const message of messages) {
      if (message.startsWith('data: ')) yield JSON.parse(message.slice(6))
    }
  }
}

const PART = 10 << 20
/** One is written to the server's disk while another is on its way. */
const AT_A_TIME = 3

/** An upload in parts, some at a time, each tried again until it is there. `onProgress` gets the share that has arrived. */
export async function upload(file: Pieces, name: string, onProgress: (share: number) => void, signal: AbortSignal) {
  const type = file.type || 'application/zip'
  const large = file.size > PART
  const begin = large ? 'initiate-multipart' : 'initiate'
  const { upload_url, file_url } = await send<{ upload_url: string; file_url: string }>(
    'POST',
    `/storage/upload/${begin}?storage_type=fal-cdn-v3`,
    { content_type: type, file_name: name },
    signal,
  )
  const target = new URL(upload_url)
  const at = (suffix: string) => SERVER + target.pathname.slice(new URL(SERVER).pathname.length - 1) + suffix + target.search
  if (!large) {
    await put(at(''), await file.slice(0, file.size), onProgress, signal)
    return file_url
  }
  const arrived = new Array<number>(Math.ceil(file.size / PART)).fill(0)
  // The first part that fails stops the others.
  const failed = new AbortController()
  signal.addEventListener('abort', () => failed.abort(), { once: true })
  if (signal.aborted) failed.abort()
  const sendPart = async (_: number, n: number) => {
    const told = (share: number) => {
      arrived[n] = share
      onProgress(arrived.reduce((sum, one) => sum + one, 0) / arrived.length)
    }
    const part = await file.slice(n * PART, (n + 1) * PART)
    const answer = await put(at(`/${n + 1}`), part, told, failed.signal)
    return { partNumber: n + 1, etag: (answer as { etag: string }).etag }
  }
  const parts = await parallel(arrived, AT_A_TIME, sendPart).finally(() => failed.abort())
  const whole = new Blob([JSON.stringify({ parts })], { type: 'application/json' })
  await put(at('/complete'), whole, () => {}, signal, 'POST')
  return file_url
}

async function put(url: string, body: Blob, onProgress: (share: number) => void, signal: AbortSignal, method = 'PUT'): Promise<unknown> {
  for (let pause = 500; ; pause = Math.min(pause * 2, 8000)) {
    const request = new XMLHttpRequest()
    const answer = await new Promise<'lost' | { status: number; text: string }>((resolve, reject) => {
      request.open(method, url)
      request.setRequestHeader('Content-Type', body.type || 'application/octet-stream')
      request.upload.onprogress = (event) => onProgress(event.loaded / Math.max(1, event.total))
      request.onload = () => resolve({ status: request.status, text: request.responseText })
      request.onerror = () => resolve('lost')
      request.onabort = () => reject(new DOMException('', 'AbortError'))
      signal.addEventListener('abort', () => request.abort(), { once: true })
      if (signal.aborted) request.abort()
      request.send(body)
    })
    const text = answer === 'lost' ? '' : answer.text
    if (answer !== 'lost' && answer.status < 300) {
      session.offline = false
      return text ? JSON.parse(text) : null
    }
    if (answer !== 'lost' && answer.status < 500) {
      throw new ServerError(problemFrom(answer.status, text ? JSON.parse(text) : null))
    }
    session.offline = true
    await new Promise((resolve) => setTimeout(resolve, pause))
  }
}

export type { Result }
