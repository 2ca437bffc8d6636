// Brightness from a scanner's values: keras_espmedsam/imaging/brightness.py and stored_values.py,
// and keras_espmedsam/data/formats/dicom_window.py.

const CUT = 0.5; // Percentage cut off at each end; a scanner's measurements have rare outliers.
const FEWEST_LEVELS = 16;

/** The first window that the standard allows, as a function to floats from 0 to 1, or null. */
export function windowOf(centres, widths, kind) {
  for (let k = 0; k < Math.min(centres.length, widths.length); k++) {
    const [centre, width] = [centres[k], widths[k]];
    if (!Number.isFinite(centre) || !Number.isFinite(width) || width <= 0) continue;
    if (kind === "SIGMOID") {
      return (values) => Float32Array.from(values, (value) => 1 / (1 + Math.exp((-4 * (value - centre)) / width)));
    }
    if (kind === "LINEAR_EXACT") return (values) => toUnit(values, centre - width / 2, centre + width / 2);
    if (width < 1) continue;
    // A window of width w covers w values, so w - 1 steps. The half pixel is from the standard.
    const low = centre - 0.5 - (width - 1) / 2;
    if (width === 1) return (values) => Float32Array.from(values, (value) => (value > low ? 1 : 0));
    return (values) => toUnit(values, low, centre - 0.5 + (width - 1) / 2);
  }
  return null;
}

function toUnit(values, low, high) {
  if (!(high > low)) return new Float32Array(values.length);
  return Float32Array.from(values, (value) => Math.min(Math.max((value - low) / (high - low), 0), 1));
}

/** Bytes, or floats from 0 to 1, of a grey frame; and the end of a sentence about it, or null. */
export function brightnessOf(stored, meaning, form, statistics) {
  const values = meaning.rescaled(stored);
  let found;
  let notice = null;
  const [black, white] = meaning.whole;
  if (meaning.window) {
    found = meaning.window(values);
    if (allAlike(found) && !allAlike(values)) notice = "its window shows all values alike";
  } else if (form.bits <= 8) {
    const bytes = values instanceof Uint8Array && black === 0 && white === 255;
    found = bytes ? values : toUnit(values, black, white);
  } else {
    const { low, high } = statistics;
    const alike = high - low < FEWEST_LEVELS && !(values instanceof Float64Array);
    found = toUnit(values, low, alike ? low + 255 * FEWEST_LEVELS : high);
    notice = alike
      ? `its values hardly differ (by less than ${FEWEST_LEVELS}), so they are shown alike`
      : `nothing tells what is black and white, so they are taken from its values (their ${CUT} and ${100 - CUT} percentiles)`;
  }
  if (meaning.inverted) {
    const most = found instanceof Uint8Array ? 255 : 1;
    found = found.map((value) => most - value);
  }
  return { values: found, notice };
}

const allAlike = (values) => values.every((value) => value === values[0]);

/** The percentiles that become black and white, of all frames of a file together. */
export function statisticsOf(frames, [height, width]) {
  let step = Math.max(1, Math.floor((height * width) / 1_000_000));
  while (common(step, width) > 1) step++;
  const sample = [];
  let [smallest, largest] = [Infinity, -Infinity];
  for (const values of frames) {
    for (let i = 0; i < values.length; i += step) sample.push(values[i]);
    for (const value of values) {
      smallest = Math.min(smallest, value);
      largest = Math.max(largest, value);
    }
  }
  const sorted = Float64Array.from(sample).sort();
  const percentile = (part) => {
    const at = ((sorted.length - 1) * part) / 100;
    const below = Math.floor(at);
    const above = Math.min(below + 1, sorted.length - 1);
    return sorted[below] + (sorted[above] - sorted[below]) * (at - below);
  };
  const [low, high] = [percentile(CUT), percentile(100 - CUT)];
  return high > low ? { low, high } : { low: smallest, high: largest };
}

function common(one, other) {
  return other ? common(other, one % other) : one;
}
