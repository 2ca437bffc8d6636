// The colours in which the targets are drawn: keras_espmedsam/imaging/target_colours.py.

const ONLY = [40, 255, 120];
const OKABE_ITO = [
  [86, 180, 233], [240, 228, 66], [204, 121, 167], [213, 94, 0],
  [0, 158, 115], [230, 159, 0], [0, 114, 178],
];

/** A colour for each target of a modality, in the model's order. */
export function coloursOf(targets) {
  if (targets.length === 1) return [ONLY];
  return targets.map((_, k) => {
    const [share, added] = [[1, 0], [0.5, 127], [0.5, 0]][Math.floor(k / OKABE_ITO.length) % 3];
    return OKABE_ITO[k % OKABE_ITO.length].map((value) => Math.trunc(value * share + added));
  });
}
