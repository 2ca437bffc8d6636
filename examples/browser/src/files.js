// What a file holds: its images, one by one, as brightness or colours.

import { openDicom } from "./dicom.js";

const MOST_PIXELS = 20_000_000;
const ELSEWHERE = "The command espmedsam segment reads it.";

/**
 * Open a file.
 *
 * Returns `count`, and `read(number)`, from 1: an image with `width`, `height`, `channels` (1 or 3),
 * `values` (bytes, or floats from 0 to 1) and `notices`, ends of sentences about it.
 */
export async function openFile(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const starts = (text, at = 0) => [...text].every((one, k) => bytes[at + k] === one.charCodeAt(0));
  if (starts("DICM", 128)) return openDicom(bytes, check);
  if (starts("II*\0") || starts("MM\0*") || starts("II+\0") || starts("MM\0+")) {
    throw new Error(`${file.name} is a TIFF file, which this page does not read. ${ELSEWHERE}`);
  }
  if (/\.nii(\.gz)?$/i.test(file.name)) {
    throw new Error(`${file.name} is a NIfTI file, which this page does not read. ${ELSEWHERE}`);
  }
  if (starts("\x89PNG") && bytes[24] === 16) {
    throw new Error(
      `${file.name} has 16 bits for each value, of which a browser keeps 8, so its masks would be `
      + `wrong. ${ELSEWHERE}`,
    );
  }
  return { count: 1, word: "image", read: () => readRaster(file) };
}

function check(name, width, height) {
  if (width * height <= MOST_PIXELS) return;
  const found = Math.ceil((width * height) / 1e6);
  throw new Error(
    `${name} has ${found} million pixels; this page takes up to ${MOST_PIXELS / 1e6} million. `
    + "Make it smaller, or use the command espmedsam segment.",
  );
}

/** Read what the browser itself decodes, upright and without a change of its colours. */
async function readRaster(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
    });
  } catch {
    throw new Error(
      `${file.name} cannot be read: it is damaged, or no PNG, JPEG, WebP, BMP, GIF or DICOM file.`,
    );
  }
  const { width, height } = bitmap;
  check(file.name, width, height);
  const { data } = pixelsOf(bitmap);
  const values = new Uint8Array(width * height * 3);
  let transparent = false;
  for (let i = 0, at = 0; i < data.length; i += 4) {
    values[at++] = data[i];
    values[at++] = data[i + 1];
    values[at++] = data[i + 2];
    transparent ||= data[i + 3] < 255;
  }
  const notices = transparent ? ["it is transparent in parts, whose colours may be lost"] : [];
  return { width, height, channels: 3, values, notices };
}

/** The RGBA values of a bitmap. */
export function pixelsOf(bitmap) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

/** An image as it is shown. */
export function bitmapOf({ width, height, channels, values }) {
  const scale = values instanceof Uint8Array ? 1 : 255;
  const shown = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let k = 0; k < 3; k++) {
      shown.data[4 * i + k] = values[channels === 1 ? i : 3 * i + k] * scale;
    }
    shown.data[4 * i + 3] = 255;
  }
  return createImageBitmap(shown);
}
