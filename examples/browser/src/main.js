// The page: what is opened, what is shown of it, and what the controls do.

import "@page/style.css";
import "./browser.css";

import { drawImage, drawMasks, overlayPng } from "@page/drawing.js";
import { area } from "@page/masks.js";
import { maskPng } from "@page/png.js";
import { resultName, save } from "@page/saving.js";
import { TargetList, element } from "@page/targets.js";
import { kindOf, numbersOf, scopeOf, sentence } from "@page/words.js";

import { coloursOf } from "./colours.js";
import { bitmapOf, openFile } from "./files.js";
import { targetsOf } from "./masks_of_targets.js";
import { ask, keepOffline, loadModels } from "./models.js";

const AUTO = "auto";
const of = (id) => document.getElementById(id);
const targets = new TargetList(of("targets"), () => redraw());

let about = null; // The segmenter's description.
let file = null;
let source = null; // The images of the file.
let shown = null; // The one on the screen: its image, result and masks.
let recognised = null; // Modality and confidence, once for all images of a file.
let wanted = 0; // Counts what was asked for, so that only the last of it is shown.

async function begin() {
  try {
    const models = await loadModels((part) => say(`Loading the model: ${Math.round(100 * part)} %`));
    about = models.segmenter;
    const names = about.modalities.map((name) => element("option", { value: name }, name));
    if (models.recognizer) names.unshift(element("option", { value: AUTO }, "Recognise it"));
    of("modality").replaceChildren(...names);
    of("modality").disabled = of("file").disabled = false;
    of("model").textContent = `Model: ${about.preset ?? "unnamed"}. Licence of its weights: ${about.licence}.`;
    say("Ready.");
    of("offline").hidden = !(await keepOffline());
  } catch (error) {
    say("");
    tell(error, "The page cannot be loaded: ");
  }
  setBusy(false);
}

/** Whether something is under way; tests wait for its end, and screen readers are told. */
function setBusy(busy) {
  document.documentElement.dataset.state = busy ? "busy" : "ready";
  of("work").setAttribute("aria-busy", busy);
}

async function open(chosen) {
  if (!chosen || !about) return;
  file = chosen;
  recognised = shown = source = null;
  for (const id of ["result", "view", "save", "stage", "slices"]) of(id).hidden = true;
  of("drop").classList.remove("empty");
  await show(1, true);
}

/** Show an image of the file: first the image itself, then its masks. */
async function show(number, first = false) {
  const mine = ++wanted;
  setBusy(true);
  tell(null);
  say(first ? "Opening the image …" : "Segmenting …");
  try {
    const own = first ? await openFile(file) : source;
    if (mine !== wanted) return;
    source = own;
    const image = await source.read(number);
    const bitmap = await bitmapOf(image);
    if (mine !== wanted) return;
    shown = { number, image, result: null, masks: null };
    drawImage(of("image"), of("overlay"), bitmap);
    present();
    say("Segmenting …");
    const chosen = of("modality").value;
    const modality = chosen === AUTO ? (recognised?.modality ?? null) : chosen;
    const { notices, ...pixels } = image;
    const result = await ask("segment", { image: pixels, modality });
    if (mine !== wanted) return;
    if (modality === null) recognised = result;
    shown.result = result;
    await setMasks(mine);
  } catch (error) {
    if (mine !== wanted) return;
    say("");
    tell(error);
    for (const id of ["result", "view", "save"]) of(id).hidden = true;
  }
  if (mine === wanted) setBusy(false);
}

/** Bring the masks in line with the threshold. */
async function setMasks(mine = ++wanted) {
  setBusy(true);
  const { masks, counts } = await ask("masks", { threshold: Number(of("threshold").value) / 100 });
  if (mine !== wanted || !shown?.result) return;
  Object.assign(shown, { masks, counts });
  refresh();
  setBusy(false);
}

function say(text) {
  of("status").textContent = text;
}

function tell(error, before = "") {
  of("problem").textContent = error ? before + error.message : "";
}

function present() {
  const { number, image } = shown;
  of("stage").hidden = false;
  of("canvases").style.width = `min(100%, 78vh * ${image.width / image.height})`;
  of("canvases").style.aspectRatio = `${image.width} / ${image.height}`;
  const where = `${source.word} ${number} of ${source.count}`;
  of("slices").hidden = source.count === 1;
  of("slice").max = source.count;
  of("slice").value = number;
  of("slice").setAttribute("aria-valuetext", where);
  of("slice-number").textContent = where;
  of("before").disabled = number <= 1;
  of("after").disabled = number >= source.count;
}

function refresh() {
  const { result, image } = shown;
  const { modality, inScope, blank, quality } = result;
  for (const id of ["result", "view", "save"]) of(id).hidden = false;
  of("kind").textContent = kindOf(result, recognised?.confidence ?? null, of("modality").value !== AUTO);
  const [words, warning] = scopeOf({ in_scope: inScope, modality });
  of("scope").textContent = words;
  of("scope").classList.toggle("warning", warning);
  const notices = [...image.notices];
  if (blank) notices.push("it has nearly the same brightness everywhere, so its mask means nothing");
  of("notices").replaceChildren(...notices.map((one) => element("li", {}, sentence(one))));
  targets.show(listed());
  of("quality-help").hidden = !Object.keys(quality).length;
  targets.tell(listed().map((one) => numbersOf(one, measured(one.target))));
  redraw();
  say(`Done. ${of("kind").textContent}`);
}

/** The targets of the image's modality, with their colours and predicted quality. */
function listed() {
  const { modality, quality } = shown.result;
  const names = targetsOf(about, modality);
  const colours = coloursOf(names);
  return names.map((target, k) => ({
    target, colour: colours[k], predicted_dice: quality[target] ?? null,
  }));
}

function measured(target) {
  const pixels = area(shown.masks[target]);
  const share = pixels / shown.masks[target].length;
  return { pixels, share, mm2: null, objects: shown.counts[target] ?? null };
}

function redraw() {
  if (!shown?.masks) return;
  const layers = listed()
    .filter(({ target }) => !targets.hidden.has(target))
    .map(({ target, colour }) => ({ colour, mask: shown.masks[target] }));
  drawMasks(of("overlay"), layers, Number(of("opacity").value) / 100, of("contour").checked);
}

/** Save something of the shown image; `target` is the one that it is of, or null. */
function keep(blob, target, ending) {
  const { word, count } = source;
  const about = { file: { word, count, number: shown.number }, result: { targets: listed() } };
  say(save(blob, resultName(file, about, target, ending)));
}

const listen = (id, event, action) => of(id).addEventListener(event, action);
const go = (number) => source && number >= 1 && number <= source.count && show(number);

listen("file", "change", () => {
  open(of("file").files[0]);
  of("file").value = ""; // So that the same file can be chosen again.
});
for (const type of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    of("drop").classList.toggle("over", type === "dragover");
    if (type === "drop") open(event.dataTransfer.files[0]);
  });
}
listen("modality", "change", () => {
  recognised = null;
  if (source) show(shown?.number ?? 1);
});
listen("threshold", "input", () => {
  of("threshold-value").textContent = (Number(of("threshold").value) / 100).toFixed(2);
});
listen("threshold", "change", () => shown?.result && setMasks());
listen("opacity", "input", () => {
  of("opacity-value").textContent = `${of("opacity").value} %`;
  redraw();
});
listen("contour", "change", redraw);
listen("slice", "change", () => go(Number(of("slice").value)));
listen("before", "click", () => go(shown.number - 1));
listen("after", "click", () => go(shown.number + 1));
document.addEventListener("keydown", (event) => {
  if (event.key === "PageUp") go(shown?.number - 1);
  else if (event.key === "PageDown") go(shown?.number + 1);
});
listen("save-mask", "click", async () => {
  const { width, height } = shown.image;
  const target = targets.chosen;
  keep(await maskPng(shown.masks[target], width, height, 1), target, "mask.png");
});
listen("save-overlay", "click", async () => {
  keep(await overlayPng(of("image"), of("overlay")), null, "overlay.png");
});

begin();
