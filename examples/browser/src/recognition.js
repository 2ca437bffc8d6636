// Which modality an image has: keras_espmedsam/inference/recognition.py, and blank images.

const BLOCKS = 32;
const ENOUGH = 500_000;
const LEAST_CONTRAST = 4 / 255;

/** The most probable class, its confidence, and why it cannot be used: empty if it can be. */
export function decide(probabilities, about, modalities, blank) {
  const { class_names: names, min_confidence: least } = about;
  const order = names.map((_, k) => k).sort((a, b) => probabilities[b] - probabilities[a] || a - b);
  const [best, second] = order;
  const modality = names[best];
  const confidence = probabilities[best];
  let refusal = "";
  if (blank) {
    refusal = "has nearly the same brightness everywhere, so its modality cannot be recognised";
  } else if (!(confidence >= Math.fround(least))) {
    const listed = [best, second].map((k) => `${names[k]} ${probabilities[k].toFixed(2)}`);
    refusal = `was not recognised: ${listed.join(", ")} (at least ${least.toFixed(2)} is needed)`;
  } else if (!modalities.includes(modality)) {
    refusal = `was recognised as ${modality}, which this segmenter does not know`;
  }
  return { modality, confidence, refusal };
}

/** Whether an image has nearly the same colour everywhere, apart from noise: blocks are compared. */
export function isBlank({ values, width, height, channels }) {
  const step = Math.max(1, Math.floor(Math.sqrt((width * height) / ENOUGH)));
  const rows = Math.ceil(height / step);
  const columns = Math.ceil(width / step);
  const white = values instanceof Uint8Array ? 255 : 1;
  const down = blocks(rows);
  const across = blocks(columns);
  for (let k = 0; k < channels; k++) {
    const sums = new Float64Array(BLOCKS * BLOCKS);
    const counts = new Float64Array(BLOCKS * BLOCKS);
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        const block = down[y] * BLOCKS + across[x];
        sums[block] += values[(y * step * width + x * step) * channels + k] / white;
        counts[block]++;
      }
    }
    let least = Infinity;
    let most = -Infinity;
    for (let block = 0; block < sums.length; block++) {
      if (!counts[block]) continue;
      least = Math.min(least, sums[block] / counts[block]);
      most = Math.max(most, sums[block] / counts[block]);
    }
    if (most - least >= LEAST_CONTRAST) return false;
  }
  return true;
}

/** The number of the block that each place is in. */
function blocks(length) {
  const count = Math.min(BLOCKS, length);
  const found = new Uint8Array(length);
  for (let k = 0; k < count; k++) found.fill(k, Math.trunc((k * length) / count));
  return found;
}
