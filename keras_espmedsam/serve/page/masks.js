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

/** A mask grown by one pixel to all sides; `beyond` is the value outside of the image. */
function grown(mask, width, height, beyond) {
  const across = new Uint8Array(mask.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0, i = y * width; x < width; x++, i++) {
      const left = x ? mask[i - 1] : beyond;
      const right = x < width - 1 ? mask[i + 1] : beyond;
      across[i] = left | mask[i] | right;
    }
  }
  const found = new Uint8Array(mask.length);
  for (let i = 0; i < mask.length; i++) {
    const above = i >= width ? across[i - width] : beyond;
    const below = i < mask.length - width ? across[i + width] : beyond;
    found[i] = above | across[i] | below;
  }
  return found;
}

/** The edge of a mask, so many pixels wide: `inside` lies in it, `outside` around it. */
export function edges(mask, width, height, wide) {
  let outside = mask;
  let background = mask.map((value) => 1 - value);
  for (let k = 0; k < wide; k++) {
    outside = grown(outside, width, height, 0);
    background = grown(background, width, height, 1);
  }
  return {
    inside: background.map((value, i) => value & mask[i]),
    outside: outside.map((value, i) => value & (1 - mask[i])),
  };
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
