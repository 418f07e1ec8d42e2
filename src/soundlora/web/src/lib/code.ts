// Code that sends exactly the request that the form holds.

import type { Values } from './schema'

export interface Call {
  server: string
  endpoint: string
  request: Values
  /** Whether the server asks for a key. */
  keyed: boolean
}

export function python({ server, endpoint, request, keyed }: Call): string {
  const key = keyed ? ', key=os.environ["FAL_KEY"]' : ''
  return `${keyed ? 'import os\n\n' : ''}import fal_client
import soundlora.client

soundlora.client.connect(${literal(server)}${key})

result = fal_client.subscribe(
    ${literal(endpoint)},
    arguments=${pythonValue(request, 4)},
    with_logs=True,
    on_queue_update=print,
)
print(result)
`
}

export function javascript({ server, endpoint, request, keyed }: Call): string {
  const credentials = keyed ? 'process.env.FAL_KEY' : '"local"'
  return `import { fal } from "@fal-ai/client";

const server = ${literal(server)};
fal.config({
  credentials: ${credentials},
  requestMiddleware: async (request) => ({
    ...request,
    url: request.url.replace(/^https:\\/\\/((queue|rest)\\.)?fal\\.(run|ai)/, server),
  }),
});

const result = await fal.subscribe(${literal(endpoint)}, {
  input: ${JSON.stringify(request, null, 2).replaceAll('\n', '\n  ')},
  logs: true,
});
console.log(result.data);
`
}

export function curl({ server, endpoint, request, keyed }: Call): string {
  const body = JSON.stringify(request, null, 2).replaceAll("'", "'\\''")
  const key = keyed ? '\n  -H "Authorization: Key $FAL_KEY" \\' : ''
  return `curl ${server}/${endpoint} \\${key}
  -H 'Content-Type: application/json' \\
  -d '${body}'

# The answer names the addresses of status, result and cancel:
# curl ${server}/${endpoint}/requests/REQUEST_ID/status?logs=1
# curl ${server}/${endpoint}/requests/REQUEST_ID
`
}

function literal(text: string): string {
  return JSON.stringify(text)
}

function pythonValue(value: unknown, indent: number): string {
  if (value === null || value === undefined) return 'None'
  if (value === true) return 'True'
  if (value === false) return 'False'
  const inner = ' '.repeat(indent + 4)
  const outer = ' '.repeat(indent)
  if (Array.isArray(value)) {
    if (!value.length) return '[]'
    return `[\n${value.map((item) => `${inner}${pythonValue(item, indent + 4)},\n`).join('')}${outer}]`
  }
  if (typeof value === 'object') {
    const lines = Object.entries(value).map(([k, v]) => `${inner}${literal(k)}: ${pythonValue(v, indent + 4)},\n`)
    return lines.length ? `{\n${lines.join('')}${outer}}` : '{}'
  }
  return JSON.stringify(value)
}
