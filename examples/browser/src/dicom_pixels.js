// The stored values of a DICOM file's frames: uncompressed, RLE and baseline JPEG.

import { readEncapsulatedImageFrame, readEncapsulatedPixelDataFromFragments, createJPEGBasicOffsetTable } from "dicom-parser";

import { pixelsOf } from "./files.js";

const PLAIN = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"];
const RLE = "1.2.840.10008.1.2.5";
const JPEG = "1.2.840.10008.1.2.4.50";
const NAMES = {
  "1.2.840.10008.1.2.2": "values of the highest byte first",
  "1.2.840.10008.1.2.4.51": "JPEG with 12 bits",
  "1.2.840.10008.1.2.4.57": "lossless JPEG",
  "1.2.840.10008.1.2.4.70": "lossless JPEG",
  "1.2.840.10008.1.2.4.80": "JPEG-LS",
  "1.2.840.10008.1.2.4.81": "JPEG-LS",
  "1.2.840.10008.1.2.4.90": "JPEG 2000",
  "1.2.840.10008.1.2.4.91": "JPEG 2000",
  "1.2.840.10008.1.2.4.201": "High-Throughput JPEG 2000",
  "1.2.840.10008.1.2.4.202": "High-Throughput JPEG 2000",
  "1.2.840.10008.1.2.4.203": "High-Throughput JPEG 2000",
};

/** What the header says about how pixels are stored; raises for what is not decoded here. */
export function formOf(header, Unread) {
  const [width, height] = [header.uint16("x00280011"), header.uint16("x00280010")];
  const pixels = header.elements.x7fe00010;
  if (!width || !height || !pixels) {
    throw new Error("The DICOM file holds no image; it may be a report, a plan or a raw signal.");
  }
  const syntax = (header.string("x00020010") ?? PLAIN[0]).trim();
  if (![...PLAIN, RLE, JPEG].includes(syntax)) {
    throw new Unread(`is stored as ${NAMES[syntax] ?? "a kind that is unknown here"}, which this page does not decode`);
  }
  const samples = header.uint16("x00280002") || 1;
  const allocated = header.uint16("x00280100");
  const bits = header.uint16("x00280101") || allocated;
  const photometric = (header.string("x00280004") ?? "").trim().toUpperCase();
  const grey = samples === 1 && photometric.startsWith("MONOCHROME");
  const colours = samples === 3 && ["RGB", "YBR_FULL", "YBR_FULL_422"].includes(photometric) && allocated === 8;
  const halved = photometric === "YBR_FULL_422" && PLAIN.includes(syntax);
  if (!(grey || colours) || halved || ![8, 16].includes(allocated)) {
    throw new Unread("stores colours or values in a form that this page does not read");
  }
  return {
    width, height, samples, allocated, bits, photometric, syntax, pixels,
    shift: Math.max(0, (header.uint16("x00280102") ?? bits - 1) + 1 - bits),
    signed: header.uint16("x00280103") === 1,
    planar: samples === 3 && header.uint16("x00280006") === 1,
  };
}

/** A frame: `values` of one or three `channels`, as stored, and colours as RGB. */
export async function decodedFrame(header, form, number, count, Unread) {
  const { width, height, samples, syntax } = form;
  const size = width * height * samples * (form.allocated / 8);
  let bytes;
  if (PLAIN.includes(syntax)) {
    const from = form.pixels.dataOffset + (number - 1) * size;
    bytes = header.byteArray.subarray(from, from + size);
    if (bytes.length < size) throw damaged();
  } else {
    const fragments = encapsulated(header, form.pixels, number, count);
    if (syntax === JPEG) return jpeg(fragments, form, Unread);
    bytes = unpacked(fragments, width * height, form.allocated / 8, samples);
  }
  const planar = form.planar || syntax === RLE;
  const plain = samples === 3 ? interleaved(bytes, width * height, planar) : integers(bytes, form);
  if (form.photometric.startsWith("YBR")) toRgb(plain);
  return { channels: samples, values: plain };
}

const damaged = () => new Error("The DICOM file is damaged or cut short. Get a new copy of it.");

function encapsulated(header, pixels, number, count) {
  try {
    if (count === 1) {
      return readEncapsulatedPixelDataFromFragments(header, pixels, 0, pixels.fragments.length);
    }
    if (pixels.basicOffsetTable.length) return readEncapsulatedImageFrame(header, pixels, number - 1);
    if (pixels.fragments.length === count) {
      return readEncapsulatedPixelDataFromFragments(header, pixels, number - 1);
    }
    const table = createJPEGBasicOffsetTable(header, pixels);
    return readEncapsulatedImageFrame(header, pixels, number - 1, table);
  } catch {
    throw damaged();
  }
}

async function jpeg(bytes, form, Unread) {
  if (form.allocated !== 8 || form.signed) {
    throw new Unread("stores values in a form that this page does not read");
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none" });
  } catch {
    throw damaged();
  }
  if (bitmap.width !== form.width || bitmap.height !== form.height) throw damaged();
  const { data } = pixelsOf(bitmap);
  const { samples } = form;
  const values = new Uint8Array(form.width * form.height * samples);
  for (let i = 0, at = 0; i < data.length; i += 4) {
    for (let k = 0; k < samples; k++) values[at++] = data[i + k];
  }
  return { channels: samples, values };
}

/** DICOM's run lengths: one segment for each byte of a value, the highest first. */
function unpacked(bytes, pixels, width, samples) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const count = view.getUint32(0, true);
  if (count !== width * samples) throw damaged();
  const found = new Uint8Array(pixels * width * samples);
  for (let segment = 0; segment < count; segment++) {
    let at = view.getUint32(4 + 4 * segment, true);
    const sample = Math.floor(segment / width);
    let to = sample * pixels * width + (width - 1 - (segment % width));
    for (let left = pixels; left > 0;) {
      if (at >= bytes.length) throw damaged();
      const head = view.getInt8(at++);
      if (head === -128) continue;
      const length = Math.min(head >= 0 ? head + 1 : 1 - head, left);
      for (let k = 0; k < length; k++, to += width) found[to] = bytes[head >= 0 ? at + k : at];
      at += head >= 0 ? head + 1 : 1;
      left -= length;
    }
  }
  return found;
}

function interleaved(bytes, pixels, planar) {
  if (!planar) return bytes.slice();
  const found = new Uint8Array(3 * pixels);
  for (let k = 0; k < 3; k++) {
    for (let i = 0; i < pixels; i++) found[3 * i + k] = bytes[k * pixels + i];
  }
  return found;
}

/** The values in the stored bits; what lies above or below them is no part of the image. */
function integers(bytes, { allocated, bits, shift, signed }) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const wide = allocated / 8;
  const count = bytes.length / wide;
  const found = signed ? new Int32Array(count) : allocated === 8 ? new Uint8Array(count) : new Uint16Array(count);
  const mask = 2 ** bits - 1;
  const sign = 2 ** (bits - 1);
  for (let i = 0; i < count; i++) {
    const value = ((wide === 1 ? bytes[i] : view.getUint16(2 * i, true)) >> shift) & mask;
    found[i] = signed ? (value ^ sign) - sign : value;
  }
  return found;
}

function toRgb(values) {
  const byte = (value) => Math.min(Math.max(Math.round(value), 0), 255);
  for (let i = 0; i < values.length; i += 3) {
    const [y, blue, red] = [values[i], values[i + 1] - 128, values[i + 2] - 128];
    values[i] = byte(y + 1.402 * red);
    values[i + 1] = byte(y - (0.114 * 1.772 * blue + 0.299 * 1.402 * red) / 0.587);
    values[i + 2] = byte(y + 1.772 * blue);
  }
}
