// Pillow's bilinear resizing of floats, with averaging where it shrinks: Python's masks and these
// are compared pixel by pixel, so a browser's own resizing, of eight bits, is not near enough.

/** How far each output value reaches, and the weights of what it reaches. */
function weights(before, after) {
  const scale = before / after;
  const reach = Math.max(scale, 1);
  const slope = 1 / reach;
  const found = [];
  for (let i = 0; i < after; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const last = Math.min(Math.trunc(centre + reach + 0.5), before);
    const own = new Float64Array(last - first);
    let sum = 0;
    for (let k = 0; k < own.length; k++) {
      own[k] = Math.max(0, 1 - Math.abs((k + first - centre + 0.5) * slope));
      sum += own[k];
    }
    const share = 1 / sum;
    for (let k = 0; k < own.length; k++) own[k] *= share;
    found.push({ first, own });
  }
  return found;
}

function alongRows(values, height, width, after) {
  const found = new Float32Array(height * after);
  const every = weights(width, after);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < after; x++) {
      const { first, own } = every[x];
      let sum = 0;
      for (let k = 0, i = y * width + first; k < own.length; k++) sum += values[i++] * own[k];
      found[y * after + x] = sum;
    }
  }
  return found;
}

function alongColumns(values, height, width, after) {
  const found = new Float32Array(after * width);
  const sums = new Float64Array(width);
  weights(height, after).forEach(({ first, own }, y) => {
    sums.fill(0);
    for (let k = 0; k < own.length; k++) {
      const row = (first + k) * width;
      for (let x = 0; x < width; x++) sums[x] += values[row + x] * own[k];
    }
    found.set(sums, y * width);
  });
  return found;
}

/** Resize a Float32Array of `height` rows and `width` columns. */
export function resize(values, [height, width], [rows, columns]) {
  let found = values;
  // Pillow's order, which decides about the rounding in between: the rows first where they shrink
  // clearly more, as comparing with it shows; else the columns.
  const first = rows < height && (columns > width || height / rows > (1.2 * width) / columns);
  if (first) found = alongColumns(found, height, width, rows);
  if (columns !== width) found = alongRows(found, first ? rows : height, width, columns);
  if (rows !== height && !first) found = alongColumns(found, height, columns, rows);
  return found;
}
