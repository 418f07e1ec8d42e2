// node scenes.mjs SCENE SERVER middleware|proxy
// Plays a scene with the official JavaScript client against the server, and prints what the client saw as JSON.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createFalClient, ApiError, ValidationError } from "@fal-ai/client";

const [scene, server, way] = process.argv.slice(2);
const TRAINING = "fal-ai/ltx23-trainer-v2/t2a";
const INPUT = { training_data_url: "https://sound.example/clips.zip" };
const MIB = 1024 * 1024;

const WAYS = {
  middleware: {
    requestMiddleware: async (request) => ({
      ...request,
      url: request.url
        .replace(/^https:\/\/fal\.run/, `${server}/run`)
        .replace(/^https:\/\/(queue\.fal\.run|rest\.fal\.ai)/, server),
    }),
  },
  proxy: { proxyUrl: { url: `${server}/api/fal/proxy`, when: "always" } },
};

// Nothing may go anywhere else, whatever the client does.
async function onlyHere(url, options) {
  const address = url instanceof Request ? url.url : String(url);
  if (!address.startsWith(server)) throw new Error(`the client calls ${address}`);
  return fetch(url, options);
}

const fal = createFalClient({
  credentials: "local",
  suppressLocalCredentialsWarning: true,
  fetch: onlyHere,
  ...WAYS[way],
});

function failure(error) {
  return {
    api: error instanceof ApiError,
    validation: error instanceof ValidationError,
    status: error.status,
    message: error.message,
    fields: error.fieldErrors,
    requestId: error.requestId,
  };
}

async function refused(promise) {
  try {
    return { resolved: await promise };
  } catch (error) {
    return failure(error);
  }
}

const SCENES = {
  // A whole training: the zip comes as a data: URI on standard input, and goes up as a Blob of the input.
  async training() {
    const zip = Buffer.from(readFileSync(0, "utf8").split(",")[1], "base64");
    let lines = [];
    const result = await fal.subscribe(TRAINING, {
      input: {
        training_data_url: new Blob([zip], { type: "application/zip" }),
        number_of_steps: 100,
        rank: 8,
        audio_duration_seconds: 1,
      },
      logs: true,
      mode: "streaming",
      // The client puts the stream's lines together: the last update has all of them.
      onQueueUpdate: (update) => (lines = (update.logs ?? []).map((line) => line.message)),
    });
    const lora = await fetch(result.data.lora_file.url);
    return { result, lines, size: (await lora.arrayBuffer()).byteLength };
  },

  // Each of the other trainers: its queue's address, its result, and what it says of an input that lacks its part.
  async modes() {
    const trainers = ["audio-extend-prefix", "audio-extend-suffix", "audio-inpaint", "a2a", "ic-lora/a2a"];
    const seen = {};
    for (const name of trainers) {
      const endpoint = `fal-ai/ltx23-trainer-v2/${name}`;
      const submitted = await fal.queue.submit(endpoint, { input: INPUT });
      await fal.queue.subscribeToStatus(endpoint, { requestId: submitted.request_id });
      const result = await fal.queue.result(endpoint, { requestId: submitted.request_id });
      const wrong = await refused(fal.run(endpoint, { input: { ...INPUT, condition_probability: 2 } }));
      seen[name] = { submitted, result, wrong };
    }
    return seen;
  },

  async queue() {
    const submitted = await fal.queue.submit(TRAINING, { input: INPUT });
    const requestId = submitted.request_id;
    const status = await fal.queue.status(TRAINING, { requestId, logs: true });
    const stream = await fal.queue.streamStatus(TRAINING, { requestId, logs: true });
    const events = [];
    stream.on("data", (event) => events.push(event));
    const last = await stream.done();
    const result = await fal.queue.result(TRAINING, { requestId });
    return { submitted, status, events, last, result };
  },

  async subscribe() {
    const seen = {};
    for (const mode of ["polling", "streaming"]) {
      const updates = [];
      const result = await fal.subscribe(TRAINING, {
        input: INPUT,
        logs: true,
        mode,
        pollInterval: 50,
        onQueueUpdate: (update) => updates.push(update),
      });
      seen[mode] = { result, updates };
    }
    return seen;
  },

  async run() {
    return fal.run(TRAINING, { input: INPUT });
  },

  async cancel() {
    const { request_id: requestId } = await fal.queue.submit(TRAINING, { input: INPUT });
    await fal.queue.cancel(TRAINING, { requestId });
    const status = await fal.queue.status(TRAINING, { requestId });
    const result = await refused(fal.queue.result(TRAINING, { requestId }));
    const again = await refused(fal.queue.cancel(TRAINING, { requestId }));
    return { status, result, again };
  },

  async validation() {
    return refused(fal.subscribe(TRAINING, { input: { ...INPUT, rank: 7, number_of_steps: 5 }, pollInterval: 50 }));
  },

  async upload() {
    const file = new File(["some clips"], "my clips.zip", { type: "application/zip" });
    const url = await fal.storage.upload(file, { lifecycle: { expiresIn: "1h" } });
    const found = await fetch(url);
    const nameless = await fal.storage.upload(new Blob(["RIFF"], { type: "audio/wav" }));
    const { request_id: requestId } = await fal.queue.submit(TRAINING, { input: { training_data_url: file } });
    return { url, text: await found.text(), type: found.headers.get("content-type"), nameless, requestId };
  },

  async parts() {
    const pieces = Array.from({ length: 91 }, (_, number) => new Uint8Array(MIB).fill(number));
    const hash = createHash("sha256");
    pieces.forEach((piece) => hash.update(piece));
    const url = await fal.storage.upload(new Blob(pieces, { type: "application/zip" }));
    return { url, hash: hash.digest("hex"), size: pieces.length * MIB };
  },
};

console.log(JSON.stringify(await SCENES[scene]()));
