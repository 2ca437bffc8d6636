// Where an image lies on the model's canvas: keras_espmedsam/imaging/placement.py, step by step.

import { resize } from "./resize.js";

/** Round as Python does: a half goes to the even number. */
function rounded(value) {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest === 0.5) return below % 2 ? below + 1 : below;
  return rest < 0.5 ? below : below + 1;
}

/** Sizes are [height, width]; `inner` is that of the image on the canvas, at its top left. */
export function place(size, canvas, mode) {
  if (mode === "stretch") return { size, inner: canvas, canvas };
  const scale = Math.min(canvas[0] / size[0], canvas[1] / size[1]);
  const inner = size.map((side, k) => Math.min(Math.max(rounded(side * scale), 1), canvas[k]));
  return { size, inner, canvas };
}

/**
 * Draw an image on the canvas: RGB from 0 to 255 as floats, for the model to normalise.
 *
 * `image` has `values`, row by row, `channels` of them for each pixel: bytes, or floats from 0 to 1.
 * `mean` is the colour of the padding. Each step is rounded to float32 where Python's is.
 */
export function forward(image, placement, mean) {
  const { values, channels } = image;
  const [rows, columns] = placement.inner;
  const bytes = values instanceof Uint8Array;
  const pixels = new Float32Array(placement.canvas[0] * placement.canvas[1] * 3);
  for (let k = 0; k < 3; k++) {
    for (let i = k; i < pixels.length; i += 3) pixels[i] = mean[k];
    let plane = new Float32Array(values.length / channels);
    for (let i = 0, at = channels === 1 ? 0 : k; i < plane.length; i++, at += channels) {
      plane[i] = (bytes ? Math.fround(values[at] / 255) : values[at]) * 255;
    }
    plane = resize(plane, placement.size, placement.inner);
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        pixels[(y * placement.canvas[1] + x) * 3 + k] = plane[y * columns + x];
      }
    }
  }
  return pixels;
}

/** Bring one channel of the model's output, `(canvas, channels)`, to the image's own size. */
export function backward(output, channel, channels, placement) {
  const [rows, columns] = placement.inner;
  const plane = new Float32Array(rows * columns);
  for (let y = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++) {
      plane[y * columns + x] = output[(y * placement.canvas[1] + x) * channels + channel];
    }
  }
  return resize(plane, placement.inner, placement.size);
}
