// From the model's output to the masks of a modality's targets: keras_espmedsam/inference's
// target_masks.py, and keras_espmedsam/imaging's probability_calibration.py.

import { postprocess, splitInstances } from "./objects.js";
import { backward } from "./placement.js";

const UNNAMED = "mask";
const SMALLEST = 1e-7;
const BELOW_HALF = 0.5 - 2 ** -25; // The largest float32 below a half.

export function targetsOf(about, modality) {
  return about.targets?.[modality] ?? [UNNAMED];
}

/** Pairs of an inner target and the one that contains it, outer ones first. */
function nestedOf(about, modality) {
  const outer = about.nested?.[modality] ?? {};
  const depth = (name) => (name in outer ? 1 + depth(outer[name]) : 0);
  return Object.entries(outer).sort((one, other) => depth(one[0]) - depth(other[0]));
}

/** The probabilities of each target and hidden channel, at the image's size, calibrated. */
export function planesOf(about, modality, output, placement) {
  const channels = about.channels?.[modality] ?? targetsOf(about, modality);
  const count = output.length / (placement.canvas[0] * placement.canvas[1]);
  const planes = Object.fromEntries(
    channels.map((name, k) => [name, backward(output, k, count, placement)]),
  );
  nest(planes, about, modality);
  const calibration = about.probability_calibration?.[modality] ?? {};
  for (const [name, options] of Object.entries(calibration)) calibrate(planes[name], options);
  nest(planes, about, modality);
  return planes;
}

function nest(planes, about, modality) {
  for (const [inner, outer] of nestedOf(about, modality)) {
    const around = planes[outer];
    planes[inner].forEach((value, i, plane) => (plane[i] = Math.min(value, around[i])));
  }
}

/** Divide the logits by a temperature and add a bias, in place. */
function calibrate(plane, { temperature = 1, bias = 0 }) {
  if (temperature === 1 && bias === 0) return;
  for (let i = 0; i < plane.length; i++) {
    const p = Math.min(Math.max(plane[i], SMALLEST), 1 - SMALLEST);
    const logit = (Math.log(p) - Math.log1p(-p)) / temperature + bias;
    const found = 0.5 * (1 + Math.tanh(0.5 * logit));
    // Without a bias a mask at a threshold of 0.5 stays as it is, whatever rounding does.
    plane[i] = bias === 0 && p < 0.5 ? Math.min(found, BELOW_HALF) : found;
  }
}

/**
 * The mask of each target at a threshold, and how many objects it has.
 *
 * Where several targets of an exclusive group reach the threshold, the most probable one keeps the
 * pixel, and of equally probable ones the first. Nested targets stay inside the outer one.
 */
export function masksOf(about, modality, planes, placement, threshold) {
  const names = targetsOf(about, modality);
  const least = Math.fround(threshold);
  const masks = Object.fromEntries(
    names.map((name) => [name, Uint8Array.from(planes[name], (value) => (value >= least ? 1 : 0))]),
  );
  constrain(masks, planes, about, modality);
  const { size, inner } = placement;
  const scale = (size[0] * size[1]) / (inner[0] * inner[1]);
  const kinds = about.instances?.[modality] ?? {};
  const hidden = Object.fromEntries(
    Object.keys(planes).filter((name) => name.includes(":")).map((name) => [name.split(":")[0], name]),
  );
  let ruled = false;
  const objects = {};
  for (const name of names) {
    const given = about.postprocessing?.[modality]?.[name];
    if (!given && !kinds[name]) continue;
    ruled ||= Boolean(given);
    const rules = { ...given, min_area: (given?.min_area ?? 0) * scale };
    if (kinds[name]) {
      objects[name] = splitInstances(
        masks[name], planes[name], planes[hidden[name]], kinds[name], threshold, size, rules,
      );
      if (given) objects[name].labels.forEach((label, i) => (masks[name][i] = label ? 1 : 0));
    } else postprocess(masks[name], size, rules);
  }
  if (ruled) constrain(masks, planes, about, modality); // A filled hole may hold another target.
  const counts = Object.fromEntries(
    Object.entries(objects).map(([name, { labels }]) => [name, countOf(labels, masks[name])]),
  );
  return { masks, counts };
}

function countOf(labels, mask) {
  const found = new Set();
  labels.forEach((label, i) => label && mask[i] && found.add(label));
  return found.size;
}

function constrain(masks, planes, about, modality) {
  for (const group of about.exclusive?.[modality] ?? []) {
    group.forEach((one, number) => {
      for (const other of group.slice(number + 1)) {
        for (let i = 0; i < masks[one].length; i++) {
          if (!masks[one][i] || !masks[other][i]) continue;
          const first = planes[one][i] >= planes[other][i];
          (first ? masks[other] : masks[one])[i] = 0;
        }
      }
    });
  }
  for (const [inner, outer] of nestedOf(about, modality)) {
    for (let i = 0; i < masks[inner].length; i++) masks[inner][i] &= masks[outer][i];
  }
}
