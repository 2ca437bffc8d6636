// Draws masks over the image: a translucent fill, a contour, and a dark rim around it.

import { edges } from "./masks.js";

const RIM = 0xa6000000; // Black, as opaque as in the overlays of `espmedsam segment`.

/** Show the upright image, and give both canvases its size. */
export function drawImage(image, overlay, bitmap) {
  for (const canvas of [image, overlay]) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
  }
  image.getContext("2d").drawImage(bitmap, 0, 0);
}

/**
 * Draw layers, each a `mask` and a `colour`, from below to above.
 *
 * `opacity` is that of the fill, in [0, 1].
 */
export function drawMasks(overlay, layers, opacity, contour) {
  const { width, height } = overlay;
  const context = overlay.getContext("2d", { willReadFrequently: true });
  const data = context.createImageData(width, height);
  const pixels = new Uint32Array(data.data.buffer);
  const wide = Math.max(1, Math.round(Math.max(width, height) / 800));
  const shapes = contour ? layers.map(({ mask }) => edges(mask, width, height, wide)) : [];
  for (const { mask, colour } of layers) {
    const fill = packed(colour, Math.round(opacity * 255));
    for (let i = 0; i < mask.length; i++) if (mask[i]) pixels[i] = fill;
  }
  // The contours last, so that no fill or rim of another target covers them.
  for (const { outside } of shapes) {
    for (let i = 0; i < outside.length; i++) if (outside[i]) pixels[i] = RIM;
  }
  shapes.forEach(({ inside }, k) => {
    const line = packed(layers[k].colour, 255);
    for (let i = 0; i < inside.length; i++) if (inside[i]) pixels[i] = line;
  });
  context.putImageData(data, 0, 0);
}

/** The image with the masks over it, as a PNG. */
export function overlayPng(image, overlay) {
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  context.drawImage(overlay, 0, 0);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

function packed([red, green, blue], alpha) {
  return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}
