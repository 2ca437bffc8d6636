// The page: what is opened, what is shown of it, and what the controls do.

import { Brush } from "./brush.js";
import { Corrections } from "./corrections.js";
import { drawImage, drawMasks, overlayPng } from "./drawing.js";
import { ADDED, ERASED, area, countObjects, maskOf } from "./masks.js";
import { maskPng } from "./png.js";
import { resultName, save, saveAllMasks } from "./saving.js";
import { Problem, askModels, inflate, isReady, sendForParts, setToken } from "./server.js";
import { TargetList, element } from "./targets.js";
import { kindOf, numbersOf, scopeOf, sentence } from "./words.js";

const AUTO = "auto";
const MOST_KEPT = 24; // Images of a file; those with corrections are all kept.

const of = (id) => document.getElementById(id);
const targets = new TargetList(of("targets"), () => refresh());
const brush = new Brush(of("overlay"), of("cursor"), paintable, () => redraw());

let models = [];
let file = null;
let images = new Map(); // Number in the file -> what is known of the image.
let shown = null; // The one that is on the screen.
let recognised = null; // Modality and confidence, once for all images of a file.
let running = null; // Aborts the requests for an image that is no longer wanted.
let drawn = 0;

// === What is asked of the server ===

async function begin() {
  try {
    while (!(await isReady())) {
      say("The server is starting: it prepares its models.");
      await new Promise((done) => setTimeout(done, 2000));
    }
    models = await askModels();
  } catch (error) {
    say("");
    const locked = error.status === 401;
    of("token-form").hidden = !locked;
    // Whoever has not given a token yet is asked for it, and not told that it is missing.
    tell(locked && !of("token").value ? null : error);
    if (locked) of("token").focus();
    return;
  }
  of("token-form").hidden = true;
  of("drop").hidden = of("controls").hidden = false;
  of("drop").classList.add("empty");
  say("");
  tell(null);
  of("model").replaceChildren(...models.map(({ name }) => element("option", { value: name }, name)));
  of("model-field").hidden = models.length < 2;
  listModalities();
}

function listModalities() {
  const { modalities, recognizes_modalities } = model();
  const before = of("modality").value;
  const options = modalities.map((name) => element("option", { value: name }, name));
  if (recognizes_modalities && modalities.length > 1) {
    options.unshift(element("option", { value: AUTO }, "Recognise it"));
  }
  of("modality").replaceChildren(...options);
  if (options.some(({ value }) => value === before)) of("modality").value = before;
}

const model = () => models.find(({ name }) => name === of("model").value);

/** Show an image of the file: first the image itself, then its masks. */
async function show(number) {
  running?.abort();
  const { signal } = (running = new AbortController());
  const one = images.get(number) ?? { number, corrections: new Map() };
  const common = { model: model().name, image: number, intensity: of("intensity").value.trim() };
  tell(null);
  try {
    if (!one.bitmap) {
      say("Opening the image …");
      const { info, content } = await sendForParts("page/image", file, common, signal);
      one.bitmap = await createImageBitmap(content);
      one.file = info;
      images.set(number, one);
    }
    if (shown !== one) {
      shown = one;
      present();
      refresh();
    }
    const threshold = Number(of("threshold").value);
    if (one.threshold !== threshold) {
      say("Segmenting …");
      const chosen = of("modality").value;
      const modality = chosen === AUTO ? (recognised?.modality ?? AUTO) : chosen;
      const query = { ...common, modality, threshold: threshold / 100 };
      const { info, content } = await sendForParts("page/masks", file, query, signal);
      const bytes = await inflate(content);
      const pixels = info.width * info.height;
      one.maps = info.targets.map((_, k) => bytes.subarray(k * pixels, (k + 1) * pixels));
      if (chosen === AUTO) recognised ??= { modality: info.modality, confidence: info.confidence };
      one.result = info;
      one.threshold = threshold;
      forget();
    }
    refresh();
    say(`Done. ${of("kind").textContent}`);
  } catch (error) {
    if (error.name === "AbortError") return;
    say("");
    tell(error);
    if (one.threshold) setThreshold(one.threshold);
    if (shown) refresh();
  } finally {
    if (running?.signal === signal) running = null;
  }
}

function forget() {
  for (const [number, one] of images) {
    if (images.size <= MOST_KEPT) break;
    if (one !== shown && !corrected(one)) images.delete(number);
  }
}

const corrected = (one) => [...one.corrections.values()].some(({ any }) => any);

/** Open a file, unless corrections would be lost that are still wanted. */
function open(chosen) {
  if (!chosen || !mayDiscard()) return;
  file = chosen;
  of("drop").classList.remove("empty");
  startAgain(1);
}

function mayDiscard() {
  const any = [...images.values()].some(corrected);
  return !any || window.confirm("Discard your corrections?");
}

function startAgain(number) {
  images = new Map();
  recognised = shown = null;
  for (const id of ["result", "view", "correct", "save", "stage", "slices"]) of(id).hidden = true;
  show(number);
}

// === What is shown ===

function say(text) {
  of("status").textContent = text;
}

function tell(error) {
  of("problem").textContent = error ? error.message : "";
  if (error && !(error instanceof Problem)) console.error(error);
}

/** Show the image, and where it is in its file. */
function present() {
  const { bitmap, file: about } = shown;
  drawImage(of("image"), of("overlay"), bitmap);
  of("stage").hidden = false;
  zoom();
  const several = about.count > 1;
  of("slices").hidden = of("save-all").hidden = !several;
  of("slice").max = about.count;
  of("slice").value = about.number;
  of("slice").setAttribute("aria-valuetext", `${about.word} ${about.number} of ${about.count}`);
  of("slice-number").textContent = `${about.word} ${about.number} of ${about.count}`;
  of("before").disabled = about.number <= 1;
  of("after").disabled = about.number >= about.count;
  const longest = Math.max(bitmap.width, bitmap.height);
  of("size").max = Math.max(20, Math.round(longest / 8));
  setSize(Number(of("size").value));
}

/** Bring everything in line with the image that is shown. */
function refresh() {
  const ready = Boolean(shown?.result);
  for (const id of ["result", "view", "correct", "save"]) of(id).hidden = !ready;
  if (!ready) return;
  const { result } = shown;
  const chosen = of("modality").value !== AUTO;
  of("kind").textContent = kindOf(result, recognised?.confidence ?? null, chosen);
  const [words, warning] = scopeOf(result);
  of("scope").textContent = words;
  of("scope").classList.toggle("warning", warning);
  of("notices").replaceChildren(...result.notices.map((one) => element("li", {}, sentence(one))));
  targets.show(result.targets);
  of("quality-help").hidden = result.targets.every((one) => one.predicted_dice === null);
  redraw();
}

/** The masks of the shown image; while the threshold moves, those that it would give. */
function masks(preview = null) {
  const { result, maps } = shown;
  const { length } = maps[0];
  const empty = new Uint8Array(length);
  return result.targets.map(({ target }, k) =>
    maskOf(maps[k], shown.corrections.get(target)?.edits ?? empty, preview),
  );
}

function redraw(preview = null) {
  if (!shown?.result) return;
  // Once for each frame of the screen, however many events there are.
  cancelAnimationFrame(drawn);
  drawn = requestAnimationFrame(() => {
    const found = masks(preview);
    const layers = shown.result.targets
      .map(({ target, colour }, k) => ({ target, colour, mask: found[k] }))
      .filter(({ target }) => !targets.hidden.has(target))
      .sort((one, other) => (one.target === targets.chosen) - (other.target === targets.chosen));
    drawMasks(of("overlay"), layers, Number(of("opacity").value) / 100, of("contour").checked);
    if (brush.painting || preview !== null) return;
    targets.tell(shown.result.targets.map((one, k) => numbersOf(one, measured(one, found[k]))));
    const corrections = paintable(false);
    of("undo").disabled = !corrections?.strokes.length;
    of("redo").disabled = !corrections?.undone.length;
  });
}

/** Area and objects: the server's numbers, or those of a corrected mask. */
function measured(target, mask) {
  const { area_pixels, area_share, area_mm2, objects } = target;
  if (!shown.corrections.get(target.target)?.any) {
    return { pixels: area_pixels, share: area_share, mm2: area_mm2, objects };
  }
  const { width, height, pixel_mm2 } = shown.file;
  const pixels = area(mask);
  return {
    pixels,
    share: pixels / mask.length,
    mm2: pixel_mm2 === null ? null : pixels * pixel_mm2,
    // Touching objects that the server told apart cannot be counted here.
    objects: target.told_apart ? null : countObjects(mask, width, height),
  };
}

function zoom() {
  const factor = Number(of("zoom").value);
  const stage = of("stage"); // What is in its middle stays there.
  const middle = [
    (stage.scrollLeft + stage.clientWidth / 2) / stage.scrollWidth,
    (stage.scrollTop + stage.clientHeight / 2) / stage.scrollHeight,
  ];
  of("zoom-value").textContent = `${100 * factor} %`;
  const { width, height } = of("image");
  const { style } = of("canvases");
  style.width = `calc(min(100%, var(--tall) * ${width / height}) * ${factor})`;
  style.aspectRatio = `${width} / ${height}`;
  stage.scrollLeft = middle[0] * stage.scrollWidth - stage.clientWidth / 2;
  stage.scrollTop = middle[1] * stage.scrollHeight - stage.clientHeight / 2;
}

// === What the controls do ===

/** The corrections of the chosen target; null if there is nothing to paint on. */
function paintable(make = true) {
  if (!shown?.result) return null;
  const { corrections, file: about } = shown;
  if (make && !corrections.has(targets.chosen)) {
    corrections.set(targets.chosen, new Corrections(about.width, about.height));
  }
  return corrections.get(targets.chosen) ?? null;
}

function setThreshold(value) {
  of("threshold").value = value;
  of("threshold-value").textContent = (value / 100).toFixed(2);
}

function setSize(value) {
  of("size").value = value;
  setTool();
}

function setTool(tool = null) {
  if (tool) document.querySelector(`input[name="tool"][value="${tool}"]`).checked = true;
  const chosen = document.querySelector('input[name="tool"]:checked').value;
  const size = Number(of("size").value);
  of("size-value").textContent = `${size} pixels`;
  brush.set({ none: 0, add: ADDED, erase: ERASED }[chosen], size);
}

function step(back) {
  const corrections = paintable(false);
  if (back) corrections?.undo();
  else corrections?.redo();
  redraw();
}

function go(number) {
  if (shown && number >= 1 && number <= shown.file.count) show(number);
}

function key(event) {
  const letter = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (letter === "z") step(!event.shiftKey);
    else if (letter === "y") step(false);
    else return;
  } else if (event.key === "PageUp") go(shown.number - 1);
  else if (event.key === "PageDown") go(shown.number + 1);
  else if (letter in TOOLS) setTool(TOOLS[letter]);
  else if (letter === "[") setSize(brush.size - Math.max(1, Math.round(brush.size / 5)));
  else if (letter === "]") setSize(brush.size + Math.max(1, Math.round(brush.size / 5)));
  else return;
  event.preventDefault();
}

const TOOLS = { a: "add", e: "erase", o: "none" };

async function saveMask() {
  const { width, height, orientation } = shown.file;
  const chosen = shown.result.targets.findIndex(({ target }) => target === targets.chosen);
  const blob = await maskPng(masks()[chosen], width, height, orientation);
  say(save(blob, resultName(file, shown, targets.chosen, "mask.png")));
}

async function saveOverlay() {
  const blob = await overlayPng(of("image"), of("overlay"));
  say(save(blob, resultName(file, shown, null, "overlay.png")));
}

async function saveAll() {
  tell(null);
  say("Segmenting all of them …");
  const query = { model: model().name, intensity: of("intensity").value.trim() };
  try {
    say(await saveAllMasks(file, shown, targets.chosen, query));
  } catch (error) {
    say("");
    tell(error);
  }
}

function listen(id, event, action) {
  of(id).addEventListener(event, action);
}

listen("token-form", "submit", (event) => {
  event.preventDefault();
  setToken(of("token").value);
  begin();
});
listen("file", "change", () => {
  open(of("file").files[0]);
  of("file").value = ""; // So that the same file can be chosen again.
});
for (const type of ["dragover", "drop", "dragleave"]) {
  document.addEventListener(type, (event) => {
    event.preventDefault();
    of("drop").classList.toggle("over", type === "dragover");
    if (type === "drop" && models.length) open(event.dataTransfer.files[0]);
  });
}
let before = {};
for (const id of ["model", "modality", "intensity"]) {
  listen(id, "focus", () => (before[id] = of(id).value));
  listen(id, "change", () => {
    if (!mayDiscard()) {
      of(id).value = before[id];
      return;
    }
    if (id === "model") listModalities();
    before[id] = of(id).value;
    if (file) startAgain(shown?.number ?? 1);
  });
}
listen("threshold", "input", () => {
  setThreshold(Number(of("threshold").value));
  if (shown?.result?.has_probabilities) redraw(Number(of("threshold").value));
});
listen("threshold", "change", () => shown && show(shown.number));
listen("opacity", "input", () => {
  of("opacity-value").textContent = `${of("opacity").value} %`;
  redraw();
});
listen("contour", "change", () => redraw());
listen("zoom", "input", zoom);
listen("size", "input", () => setTool());
for (const one of document.querySelectorAll('input[name="tool"]')) {
  one.addEventListener("change", () => setTool());
}
listen("undo", "click", () => step(true));
listen("redo", "click", () => step(false));
listen("overlay", "keydown", key);
listen("slice", "change", () => go(Number(of("slice").value)));
listen("before", "click", () => go(shown.number - 1));
listen("after", "click", () => go(shown.number + 1));
listen("save-mask", "click", saveMask);
listen("save-overlay", "click", saveOverlay);
listen("save-all", "click", saveAll);
setTool();
begin();
