// Runs the models, beside the page, so that it stays responsive. It gets everything by message and
// asks nothing of the network.

import * as ort from "onnxruntime-web/wasm";

import { masksOf, planesOf } from "./masks_of_targets.js";
import { forward, place } from "./placement.js";
import { decide, isBlank } from "./recognition.js";

const models = {}; // By name: segmenter, recognizer, and segmenter:MODALITY of another image size.
let current = null; // What is known of the image that was segmented last.

const actions = { load, segment, masks };

self.onmessage = async ({ data: { number, action, given } }) => {
  try {
    const { answer, moved = [] } = await actions[action](given);
    self.postMessage({ number, answer }, moved);
  } catch (error) {
    self.postMessage({ number, problem: error.message ?? String(error) });
  }
};

async function load({ wasm, contents }) {
  ort.env.wasm.wasmBinary = wasm;
  ort.env.wasm.numThreads = 1; // Several need headers that a plain host of files does not send.
  ort.env.logLevel = "error";
  for (const [name, one] of Object.entries(contents)) models[name] = await opened(one);
  return { answer: null };
}

async function opened({ about, content }) {
  const session = await ort.InferenceSession.create(new Uint8Array(content), {
    executionProviders: ["wasm"],
  });
  return { about, session };
}

function placed(about, image) {
  const [, height, width] = about.inputs.images.shape;
  return place([image.height, image.width], [height, width], about.resize_mode);
}

/** The model's outputs for an image, by name, and its placement. */
async function run({ about, session }, image, modality = null) {
  const [, height, width] = about.inputs.images.shape;
  const placement = placed(about, image);
  const pixels = forward(image, placement, about.normalization.mean);
  const feeds = { images: new ort.Tensor("float32", pixels, [1, height, width, 3]) };
  if (about.inputs.modalities) {
    const index = about.modalities.indexOf(modality);
    feeds.modalities = new ort.Tensor("int32", Int32Array.of(index), [1]);
  }
  const outputs = await session.run(feeds);
  const found = {};
  for (const [name, tensor] of Object.entries(outputs)) found[name] = tensor.data;
  return { outputs: found, placement };
}

/** Segment an image; `modality` is null where it is to be recognised. */
async function segment({ image, modality }) {
  const blank = isBlank(image);
  let confidence = null;
  if (modality === null) {
    const { outputs } = await run(models.recognizer, image);
    const known = models.segmenter.about.modalities;
    const found = decide(outputs.probabilities, models.recognizer.about, known, blank);
    if (found.refusal) throw new Error(`The image ${found.refusal}. Choose its modality yourself.`);
    ({ modality, confidence } = found);
  }
  const segmenter = models[`segmenter:${modality}`] ?? models.segmenter;
  const { about } = segmenter;
  const { outputs, placement } = await run(segmenter, image, modality);
  if (outputs.probabilities.some((value) => !Number.isFinite(value))) {
    throw new Error("The model gives values that are no numbers; its file is damaged.");
  }
  const planes = planesOf(about, modality, outputs.probabilities, placement);
  // Areas are in pixels of the size that most modalities have.
  const usual = placed(models.segmenter.about, image);
  current = { about, modality, planes, usual };
  const quality = {};
  const predicted = about.predicts_quality?.[modality] ?? [];
  (about.targets?.[modality] ?? ["mask"]).forEach((name, k) => {
    if (predicted.includes(name)) quality[name] = Math.min(Math.max(outputs.quality[k], 0), 1);
  });
  const scoped = about.tells_scope?.includes(modality);
  const inScope = scoped ? outputs.scope_score[0] <= 1 : null;
  return { answer: { modality, confidence, blank, quality, inScope } };
}

/** The masks of the image that was segmented last. */
async function masks({ threshold }) {
  const { about, modality, planes, usual } = current;
  const found = masksOf(about, modality, planes, usual, threshold);
  return { answer: found, moved: Object.values(found.masks).map((mask) => mask.buffer) };
}
