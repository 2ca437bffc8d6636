// Saves results on the computer of whoever looks at the page.

import { send } from "./server.js";
import { element } from "./targets.js";

/** The name of a result, as `espmedsam segment` would choose it; without `image`, of the whole file. */
export function resultName(file, image, target, ending) {
  const stem = file.name.replace(/(\.nii)?\.[^.]*$/, "") || "image";
  const parts = [stem];
  if (image?.file.count > 1) {
    const { number, count, word } = image.file;
    parts.push(`${word}${String(number).padStart(String(count).length, "0")}`);
  }
  if (target !== null && (image === null || image.result.targets.length > 1)) parts.push(target);
  return `${parts.join("_")}_${ending}`;
}

/** Have the browser save a Blob, and return what to say of it. */
export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return `Saved as ${name}.`;
}

/** Save the masks of all images of a file, as `POST /segment` gives them. */
export async function saveAllMasks(file, image, target, query) {
  const volume = image.file.one_mask_file;
  const answer = await send("segment", file, {
    ...query,
    modality: image.result.modality,
    threshold: image.threshold / 100,
    target: volume ? target : null,
    output: volume ? "nifti" : "zip",
  });
  const blob = await answer.blob();
  if (!volume) return save(blob, resultName(file, null, null, "masks.zip"));
  const [first, second] = new Uint8Array(await blob.slice(0, 2).arrayBuffer());
  const zipped = first === 0x1f && second === 0x8b;
  return save(blob, resultName(file, null, target, zipped ? "mask.nii.gz" : "mask.nii"));
}
