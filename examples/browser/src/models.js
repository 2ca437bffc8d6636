// Loads the models and their runtime once, and asks the worker that runs them.

import runtimeAddress from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";

// Its code is part of the page's own, so that the page's security policy holds for it, too.
import ModelWorker from "./worker.js?worker&inline";

const worker = new ModelWorker();
const waiting = new Map();
let asked = 0;

worker.onmessage = ({ data: { number, answer, problem } }) => {
  const { done, failed } = waiting.get(number);
  waiting.delete(number);
  if (problem === undefined) done(answer);
  else failed(new Error(problem));
};

/** Have the worker do something; what is in `moved` is handed over and not copied. */
export function ask(action, given, moved = []) {
  return new Promise((done, failed) => {
    waiting.set(++asked, { done, failed });
    worker.postMessage({ number: asked, action, given }, moved);
  });
}

async function fetched(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${address} is missing (status ${response.status}).`);
  return response;
}

/** Load everything that segmenting needs, and return the descriptions of the models. */
export async function loadModels(progress) {
  const about = await (await fetched("models.json")).json();
  const contents = {};
  const size = Object.values(about).reduce((sum, one) => sum + one.bytes, 0);
  let loaded = 0;
  for (const [name, { file, description }] of Object.entries(about)) {
    const parts = [];
    const reader = (await fetched(file)).body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      parts.push(value);
      loaded += value.length;
      progress(Math.min(1, loaded / size));
    }
    contents[name] = { about: description, content: await new Blob(parts).arrayBuffer() };
  }
  const wasm = await (await fetched(runtimeAddress)).arrayBuffer();
  const moved = Object.values(contents).map(({ content }) => content);
  await ask("load", { wasm, contents }, [wasm, ...moved]);
  return Object.fromEntries(Object.entries(about).map(([name, one]) => [name, one.description]));
}

/** Keep the whole site in the browser, so that it opens without a network. */
export async function keepOffline() {
  if (!("serviceWorker" in navigator)) return false;
  try {
    await navigator.serviceWorker.register("sw.js");
    await navigator.serviceWorker.ready;
    return true;
  } catch {
    return false; // Such as in a private window: the page works, but only with its host.
  }
}
