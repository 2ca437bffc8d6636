// Requests to the server that the page comes from, and to no other.

let token = null; // In memory alone: gone when the page is closed or loaded again.

export function setToken(value) {
  token = value;
}

/** What the server, or the network, answered instead: `status` is 0 without an answer. */
export class Problem extends Error {
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

async function ask(address, options) {
  const headers = token === null ? {} : { Authorization: `Bearer ${token}` };
  let response;
  try {
    response = await fetch(new URL(address, document.baseURI), { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server cannot be reached. Is it still running?", 0);
  }
  if (response.ok) return response;
  let sentence = `The server answered with the status ${response.status}.`;
  try {
    sentence = (await response.json()).error ?? sentence;
  } catch {
    // A proxy before the server has its own form of errors.
  }
  throw new Problem(sentence, response.status);
}

export async function askModels() {
  return (await ask("models")).json();
}

/** Whether the server is ready; it is not while its models are compiled. */
export async function isReady() {
  const response = await fetch(new URL("health", document.baseURI));
  return response.ok;
}

/** Send a file; parameters that are null or empty are left out. */
export function send(address, file, parameters, signal) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== "");
  return ask(`${address}?${new URLSearchParams(given)}`, { method: "POST", body: file, signal });
}

/** Send a file, and take the answer apart: its `info`, and its other part as a Blob. */
export async function sendForParts(address, file, parameters, signal) {
  const form = await (await send(address, file, parameters, signal)).formData();
  const info = JSON.parse(form.get("info"));
  return { info, content: form.get("image") ?? form.get("maps") };
}

/** The bytes of a Blob that is compressed with zlib. */
export async function inflate(blob) {
  const stream = blob.stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
