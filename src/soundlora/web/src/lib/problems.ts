// Errors of the server: at their field where they belong to one, else as a sentence with what to do.

import { words } from './words'

export interface Detail {
  loc?: (string | number)[]
  msg?: string
  type?: string
  ctx?: Record<string, unknown>
}

export interface Problem {
  status: number
  /** What happened. */
  sentence: string
  /** What to do about it, or "". */
  remedy: string
  type: string
  /** Sentences by field of the request. */
  fields: Record<string, string>
}

const REMEDIES: Record<string, string> = words.problems.remedies

export function problemFrom(status: number, body: unknown, headers?: Headers): Problem {
  const flat = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>
  const detail = flat.detail ?? (flat.error as { message?: string } | undefined)?.message
  const fields: Record<string, string> = {}
  let sentence = ''
  let type = String(flat.error_type ?? headers?.get('x-fal-error-type') ?? '')
  if (Array.isArray(detail)) {
    for (const one of detail as Detail[]) {
      const field = one.loc?.find((part) => part !== 'body')
      if (typeof field === 'string') fields[field] ??= one.msg ?? words.problems.notRight
      type ||= one.type ?? ''
    }
    sentence = (detail as Detail[]).map((one) => one.msg).filter(Boolean).join(' ')
  } else if (typeof detail === 'string') sentence = detail
  if (status === 401 || status === 403) type ||= 'unauthorized'
  return {
    status,
    type,
    fields,
    sentence: sentence || words.problems.answered(status),
    remedy: REMEDIES[type] ?? (status >= 500 ? REMEDIES.internal_server_error! : ''),
  }
}

export const OFFLINE: Problem = {
  status: 0,
  type: 'offline',
  fields: {},
  sentence: words.problems.offline,
  remedy: REMEDIES.offline!,
}

export class ServerError extends Error {
  constructor(readonly problem: Problem) {
    super(problem.sentence)
  }
}

/** Whatever was thrown, as a problem to show. */
export function problemOfError(error: unknown): Problem {
  if (error instanceof ServerError) return error.problem
  return { ...OFFLINE, type: '', sentence: error instanceof Error ? error.message : String(error), remedy: '' }
}
