// What the page says about a result.

const number = new Intl.NumberFormat("en");
const precise = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });

export function percent(share) {
  const value = 100 * share;
  return `${value.toFixed(value > 0 && value < 9.95 ? 1 : 0)} %`;
}

/** A name of a target as it is read: `optic_disc` is "optic disc". */
export function spoken(name) {
  return name.replaceAll("_", " ");
}

/** A notice of the server, the end of a sentence about the image, as a sentence of its own. */
export function sentence(notice) {
  return `${notice[0].toUpperCase()}${notice.slice(1)}.`;
}

export function kindOf(result, confidence, chosen) {
  const name = result.modality;
  if (chosen) return `Modality: ${name}, as you chose.`;
  if (confidence === null) return `Modality: ${name}.`;
  return `Modality: ${name}, recognised with a confidence of ${percent(confidence)}.`;
}

/** Whether the image is of the right kind, and whether that is a warning. */
export function scopeOf({ in_scope, modality }) {
  if (in_scope === null) return ["The model does not tell whether the image is of the right kind.", false];
  if (in_scope) return [`The image looks like those of the modality ${modality} that the model knows.`, false];
  return [
    `The image looks unlike those of the modality ${modality} that the model knows: do not rely on its masks.`,
    true,
  ];
}

/** Area, objects and predicted quality of a target; `measured` are numbers of its corrected mask. */
export function numbersOf(target, measured) {
  const { pixels, share, mm2, objects } = measured;
  const parts = [`${number.format(pixels)} pixels (${percent(share)})`];
  if (mm2 !== null) parts.push(`${precise.format(mm2)} mm²`);
  if (objects !== null) parts.push(`${number.format(objects)} object${objects === 1 ? "" : "s"}`);
  if (target.predicted_dice !== null) parts.push(`predicted Dice ${target.predicted_dice.toFixed(2)}`);
  return parts.join(", ");
}
