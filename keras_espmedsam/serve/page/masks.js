// Masks as arrays of 0 and 1, row by row, without anything of the page.

export const ADDED = 1;
export const ERASED = 2;

/**
 * The mask of one target.
 *
 * `map` has the server's mask in its highest bit and the probability, in hundredths, in the others;
 * `edits` has ADDED and ERASED where a person decided. `threshold`, in hundredths, shows the
 * probabilities in place of the server's mask.
 */
export function maskOf(map, edits, threshold = null) {
  const mask = new Uint8Array(map.length);
  for (let i = 0; i < map.length; i++) {
    if (edits[i]) mask[i] = edits[i] === ADDED ? 1 : 0;
    else mask[i] = threshold === null ? map[i] >> 7 : (map[i] & 127) >= threshold ? 1 : 0;
  }
  return mask;
}

/** The edge of a mask, so many pixels wide: `inside` lies in it, `outside` around it. */
export function edges(mask, width, height, wide) {
  const inside = new Uint8Array(mask.length);
  const outside = new Uint8Array(mask.length);
  const near = besideOther(mask, width, height);
  for (let y = 0, i = 0; y < height; y++) {
    const rim = Math.min(y, height - 1 - y) < wide; // The image's border is an edge, too.
    for (let x = 0; x < width; x++, i++) {
      if (mask[i] && (rim || Math.min(x, width - 1 - x) < wide)) inside[i] = 1;
      if (!near[i]) continue;
      for (let v = Math.max(0, y - wide); v <= Math.min(height - 1, y + wide); v++) {
        const last = v * width + Math.min(width - 1, x + wide);
        for (let k = v * width + Math.max(0, x - wide); k <= last; k++) {
          if (mask[k] === mask[i]) continue;
          if (mask[k]) inside[k] = 1;
          else outside[k] = 1;
        }
      }
    }
  }
  return { inside, outside };
}

/** Where a pixel has a neighbour of the other value; pixels that touch at a corner are neighbours. */
function besideOther(mask, width, height) {
  const found = new Uint8Array(mask.length);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const value = mask[i];
      if (x < width - 1 && mask[i + 1] !== value) found[i] = found[i + 1] = 1;
      if (y === height - 1) continue;
      const below = i + width;
      if (mask[below] !== value) found[i] = found[below] = 1;
      if (x && mask[below - 1] !== value) found[i] = found[below - 1] = 1;
      if (x < width - 1 && mask[below + 1] !== value) found[i] = found[below + 1] = 1;
    }
  }
  return found;
}

export function area(mask) {
  let pixels = 0;
  for (const value of mask) pixels += value;
  return pixels;
}

/** The number of connected parts; pixels that touch at a corner are connected. */
export function countObjects(mask, width, height) {
  const left = mask.slice();
  const stack = [];
  let objects = 0;
  for (let start = 0; start < left.length; start++) {
    if (!left[start]) continue;
    objects++;
    left[start] = 0;
    stack.push(start);
    while (stack.length) {
      const place = stack.pop();
      const x = place % width;
      const y = (place - x) / width;
      for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++) {
        for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++) {
          const beside = v * width + u;
          if (!left[beside]) continue;
          left[beside] = 0;
          stack.push(beside);
        }
      }
    }
  }
  return objects;
}
