// Connected parts of masks: keras_espmedsam/imaging/objects.py and instances.py.

const CORNERS = [[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 0], [1, 1]];
const SIDES = [[-1, 0], [0, -1], [0, 1], [1, 0]];
// The nearest first, as scikit-image's watershed goes through them.
const NEAREST = [...SIDES, [-1, -1], [-1, 1], [1, -1], [1, 1]];
const SHARE_OF_A_CORE = 0.25;

/** Number the parts where `inside(i)`, in reading order; returns labels and how many there are. */
export function components(inside, [height, width], corners = true) {
  const labels = new Int32Array(height * width);
  const stack = [];
  let count = 0;
  for (let start = 0; start < labels.length; start++) {
    if (labels[start] || !inside(start)) continue;
    labels[start] = ++count;
    stack.push(start);
    while (stack.length) {
      const at = stack.pop();
      const x = at % width;
      const y = (at - x) / width;
      for (const [down, right] of corners ? CORNERS : SIDES) {
        if (x + right < 0 || x + right >= width || y + down < 0 || y + down >= height) continue;
        const beside = at + down * width + right;
        if (labels[beside] || !inside(beside)) continue;
        labels[beside] = count;
        stack.push(beside);
      }
    }
  }
  return { labels, count };
}

/** Number labels anew from 1, in reading order, in place. */
function numbered(labels) {
  const names = new Map([[0, 0]]);
  for (let i = 0; i < labels.length; i++) {
    if (!names.has(labels[i])) names.set(labels[i], names.size);
    labels[i] = names.get(labels[i]);
  }
  return { labels, count: names.size - 1 };
}

/** Remove parts of less than `least` pixels, or all but the `most` largest; 0 for any number. */
function withoutSmall({ labels, count }, least, most) {
  const area = new Float64Array(count + 1);
  for (const label of labels) area[label]++;
  const order = Array.from({ length: count }, (_, k) => k + 1).filter((k) => area[k] >= least);
  if (most) {
    order.sort((one, other) => area[other] - area[one] || one - other);
    order.length = Math.min(order.length, most);
  }
  const keep = new Set(order);
  return numbered(labels.map((label) => (keep.has(label) ? label : 0)));
}

/** The enclosed parts of the background. */
function holesOf(labels, size) {
  const [height, width] = size;
  const holes = components((i) => !labels[i], size, false);
  const open = new Set([0]);
  for (let x = 0; x < width; x++) open.add(holes.labels[x]).add(holes.labels[(height - 1) * width + x]);
  for (let y = 0; y < height; y++) open.add(holes.labels[y * width]).add(holes.labels[(y + 1) * width - 1]);
  return holes.labels.map((label) => (open.has(label) ? 0 : label));
}

/** Fill the holes of each object; a gap between several objects stays. */
function filled({ labels, count }, size) {
  const width = size[1];
  const holes = holesOf(labels, size);
  const owners = new Map(); // Hole -> the one object around it, or 0 for several.
  for (let i = 0; i < holes.length; i++) {
    if (!holes[i]) continue;
    for (const beside of [i - width, i + width, i - 1, i + 1]) { // Never beyond: holes are inside.
      if (!labels[beside]) continue;
      const known = owners.get(holes[i]) ?? labels[beside];
      owners.set(holes[i], known === labels[beside] ? known : 0);
    }
  }
  return { labels: labels.map((label, i) => label || owners.get(holes[i]) || 0), count };
}

/** Fill the holes of a mask, and remove small parts of it, in place. */
export function postprocess(mask, size, { min_area = 0, fill_holes = false, max_objects = 0 }) {
  if (fill_holes) {
    const holes = holesOf(mask, size);
    for (let i = 0; i < mask.length; i++) if (holes[i]) mask[i] = 1;
  }
  if (min_area > 1 || max_objects) {
    const { labels } = withoutSmall(components((i) => mask[i], size), min_area, max_objects);
    for (let i = 0; i < mask.length; i++) mask[i] = labels[i] ? 1 : 0;
  }
}

/**
 * Split a mask into its objects.
 *
 * `hidden` is the map that tells objects apart, a `kind` of "core" or "boundary", or null for
 * "components".
 */
export function splitInstances(mask, probability, hidden, kind, threshold, size, rules) {
  const { min_area = 0, fill_holes = false, max_objects = 0 } = rules;
  let found = components((i) => mask[i], size);
  if (kind !== "components") {
    const inner = kind === "core" ? hidden : hidden.map((value, i) => probability[i] - value);
    const level = Math.fround(kind === "core" ? 0.5 : Math.min(threshold, 0.5));
    found = split(found, inner, level, min_area * SHARE_OF_A_CORE, size);
  }
  if (fill_holes) found = filled(found, size);
  if (min_area > 1 || max_objects) found = withoutSmall(found, min_area, max_objects);
  return found;
}

/** Split the parts in which several markers lie, by a watershed from them. */
function split(parts, inner, level, least, size) {
  let markers = components((i) => parts.labels[i] && inner[i] >= level, size, false);
  if (least > 1) markers = withoutSmall(markers, least, 0);
  const owned = new Map(); // Part -> its markers.
  markers.labels.forEach((marker, i) => {
    if (!marker) return;
    const part = parts.labels[i];
    owned.set(part, (owned.get(part) ?? new Set()).add(marker));
  });
  const several = new Set([...owned].filter(([, own]) => own.size > 1).map(([part]) => part));
  if (!several.size) return parts;
  const within = (i) => several.has(parts.labels[i]);
  const flooded = watershed(inner, markers.labels, within, size);
  const labels = parts.labels.map((part, i) => (within(i) ? parts.count + flooded[i] : part));
  return numbered(labels);
}

/** Flood from the markers, from the highest values down; of equal ones, the earliest reached. */
function watershed(values, markers, within, [height, width]) {
  const labels = new Int32Array(markers.length);
  const heap = [];
  const before = (one, other) => values[one[0]] > values[other[0]]
    || (values[one[0]] === values[other[0]] && one[1] < other[1]);
  const push = (one) => {
    let at = heap.push(one) - 1;
    for (let up = (at - 1) >> 1; at && before(one, heap[up]); up = (at - 1) >> 1) {
      heap[at] = heap[up];
      at = up;
    }
    heap[at] = one;
  };
  const pop = () => {
    const first = heap[0];
    const last = heap.pop();
    if (!heap.length) return first;
    let at = 0;
    for (;;) {
      let down = 2 * at + 1;
      if (down + 1 < heap.length && before(heap[down + 1], heap[down])) down++;
      if (down >= heap.length || !before(heap[down], last)) break;
      heap[at] = heap[down];
      at = down;
    }
    heap[at] = last;
    return first;
  };
  for (let i = 0; i < markers.length; i++) {
    if (!markers[i] || !within(i)) continue;
    labels[i] = markers[i];
    push([i, 0]);
  }
  let age = 0;
  while (heap.length) {
    const [at] = pop();
    const x = at % width;
    const y = (at - x) / width;
    for (const [down, right] of NEAREST) {
      if (x + right < 0 || x + right >= width || y + down < 0 || y + down >= height) continue;
      const beside = at + down * width + right;
      if (labels[beside] || !within(beside)) continue;
      labels[beside] = labels[at];
      push([beside, ++age]);
    }
  }
  return labels;
}
