// Errors of the server: at their field where they belong to one, else as a sentence with what to do.

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

const REMEDIES: Record<string, string> = {
  file_download_error: 'Check that the address is public, or drop the zip here instead.',
  file_too_large: 'Make the archive smaller: shorter clips, or FLAC in place of WAV.',
  invalid_archive: 'Make the zip again and drop it here; a folder of files can be dropped too.',
  archive_file_count_below_minimum: 'Put audio files into the zip: wav, mp3, flac, ogg, aac or m4a.',
  audio_duration_too_short: 'Choose a shorter clip length, or bring longer recordings.',
  unsupported_audio_format: 'Convert the clips to wav, mp3, flac, ogg, aac or m4a.',
  internal_server_error: 'The log says more. Run it again; if it fails again, please report it with the log.',
  generation_timeout: 'Choose fewer steps, or raise the server’s limit for a run.',
  request_timeout: 'It waited too long in the queue. Run it again when the machine is free.',
  runner_disconnected: 'The process of the run vanished several times, often for lack of memory. Try a smaller rank.',
  client_cancelled: 'What had been made until then is kept below.',
  offline: 'Is soundlora serve still running? The page goes on by itself when the server is back.',
  unauthorized: 'Enter a key in Settings.',
}

export function problemFrom(status: number, body: unknown, headers?: Headers): Problem {
  const flat = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>
  const detail = flat.detail ?? (flat.error as { message?: string } | undefined)?.message
  const fields: Record<string, string> = {}
  let sentence = ''
  let type = String(flat.error_type ?? headers?.get('x-fal-error-type') ?? '')
  if (Array.isArray(detail)) {
    for (const one of detail as Detail[]) {
      const field = one.loc?.find((part) => part !== 'body')
      if (typeof field === 'string') fields[field] ??= one.msg ?? 'This is not right.'
      type ||= one.type ?? ''
    }
    sentence = (detail as Detail[]).map((one) => one.msg).filter(Boolean).join(' ')
  } else if (typeof detail === 'string') sentence = detail
  if (status === 401 || status === 403) type ||= 'unauthorized'
  return {
    status,
    type,
    fields,
    sentence: sentence || `The server answered with ${status}.`,
    remedy: REMEDIES[type] ?? (status >= 500 ? REMEDIES.internal_server_error! : ''),
  }
}

export const OFFLINE: Problem = {
  status: 0,
  type: 'offline',
  fields: {},
  sentence: 'The server can’t be reached.',
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
