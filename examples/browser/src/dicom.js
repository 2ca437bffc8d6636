// Reads DICOM files: keras_espmedsam/data/formats/dicom.py, for the forms that are decoded here.
// dicom-parser has 32 kB; decoders of the other compressions would be twenty times as much.

import { parseDicom } from "dicom-parser";

import { brightnessOf, statisticsOf, windowOf } from "./brightness.js";
import { decodedFrame, formOf } from "./dicom_pixels.js";

const ELSEWHERE = "The command espmedsam segment reads it.";

export class Unread extends Error {
  constructor(what) {
    super(`The DICOM file ${what}. ${ELSEWHERE}`);
  }
}

/** Open a DICOM file, as `openFile` does; `check(name, width, height)` raises for what is too large. */
export async function openDicom(bytes, check) {
  let header;
  try {
    header = parseDicom(bytes, { inflater: refuseDeflated });
  } catch (error) {
    if (error instanceof Unread) throw error;
    throw new Error("The file begins like DICOM, but cannot be read: it is damaged or cut short.");
  }
  const form = formOf(header, Unread);
  check("The DICOM image", form.width, form.height);
  const count = Math.max(1, Number.parseInt(header.string("x00280008") ?? "1", 10) || 1);
  const stored = (number) => decodedFrame(header, form, number, count, Unread);
  let statistics = null; // Of all frames together, so that they have one black and one white.

  async function read(number) {
    const frame = await stored(number);
    const common = { width: form.width, height: form.height, channels: frame.channels };
    if (frame.channels === 3) return { ...common, values: frame.values, notices: [] };
    const meaning = meaningOf(header, form, number);
    if (!meaning.window && form.bits > 8 && !statistics) {
      const every = [];
      for (let k = 1; k <= count; k++) {
        const one = k === number ? frame : await stored(k);
        every.push(meaningOf(header, form, k).rescaled(one.values));
      }
      statistics = statisticsOf(every, [form.height, form.width]);
    }
    const { values, notice } = brightnessOf(frame.values, meaning, form, statistics);
    return { ...common, values, notices: notice ? [notice] : [] };
  }

  return { count, word: "frame", read };
}

function refuseDeflated() {
  throw new Unread("is compressed by deflate, which this page does not decode");
}

/** What the header says about a frame's values. */
function meaningOf(header, form, number) {
  const rescale = functionsOf(header, number, "x00289145");
  if (header.elements.x00283000) throw new Unread("has a look-up table for its values, which this page does not read");
  const slope = numberOf(rescale, "x00281053") ?? 1;
  const intercept = numberOf(rescale, "x00281052") ?? 0;
  const changes = (slope !== 1 || intercept !== 0) && slope !== 0;
  const voi = functionsOf(header, number, "x00289132");
  if (voi.elements.x00283010) throw new Unread("has a look-up table for its brightness, which this page does not read");
  if (header.elements.x00280120) throw new Unread("marks some of its values as padding, which this page does not read");
  return {
    rescaled: (values) => (changes ? Float64Array.from(values, (value) => value * slope + intercept) : values),
    window: windowOf(
      numbersOf(voi, "x00281050"),
      numbersOf(voi, "x00281051"),
      (voi.string("x00281056") ?? "LINEAR").trim().toUpperCase(),
    ),
    inverted: form.photometric === "MONOCHROME1",
    whole: wholeOf(form).map((value) => (changes ? value * slope + intercept : value)).sort((a, b) => a - b),
  };
}

function wholeOf({ bits, signed }) {
  return signed ? [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] : [0, 2 ** bits - 1];
}

/** The item with a frame's rescaling or window: its own, the shared one or the file's. */
function functionsOf(header, number, sequence) {
  const frames = header.elements.x52009230?.items ?? [];
  const shared = header.elements.x52009229?.items ?? [];
  for (const group of [frames[number - 1], shared[0]]) {
    const found = group?.dataSet?.elements[sequence]?.items?.[0]?.dataSet;
    if (found) return found;
  }
  return header;
}

function numbersOf(fields, tag) {
  const text = fields.string(tag);
  return text ? text.split("\\").map((one) => (one.trim() === "" ? NaN : Number(one))) : [];
}

function numberOf(fields, tag) {
  const [first] = numbersOf(fields, tag);
  return Number.isFinite(first) ? first : null;
}
