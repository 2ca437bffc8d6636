// The list of targets: which one is corrected and saved, which are shown, and their numbers.

import { spoken } from "./words.js";

export class TargetList {
  constructor(list, changed) {
    this.list = list;
    this.changed = changed;
    this.names = [];
    this.hidden = new Set();
    this.chosen = null;
  }

  /** Show these targets; nothing is built anew for the same ones, so that the focus stays. */
  show(targets) {
    const names = targets.map(({ target }) => target);
    if (names.join("\n") === this.names.join("\n")) return;
    this.names = names;
    if (!names.includes(this.chosen)) this.chosen = names[0];
    this.list.replaceChildren(...targets.map((one) => this.#row(one, targets.length > 1)));
  }

  #row({ target, colour }, several) {
    const row = element("li");
    const line = element("div", { className: "row" });
    const radio = element("input", {
      type: "radio", name: "target", value: target, checked: target === this.chosen,
    });
    radio.addEventListener("change", () => {
      this.chosen = target;
      const box = row.querySelector('[type="checkbox"]');
      if (box && !box.checked) box.click(); // Nobody paints on what is not seen.
      else this.changed();
    });
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = `rgb(${colour.join(" ")})`;
    const name = element("label", { className: "check" }, radio, swatch, spoken(target));
    line.append(name);
    if (several) {
      const box = element("input", { type: "checkbox", checked: !this.hidden.has(target) });
      box.setAttribute("aria-label", `Show ${spoken(target)}`);
      box.addEventListener("change", () => {
        if (box.checked) this.hidden.delete(target);
        else this.hidden.add(target);
        this.changed();
      });
      line.append(element("label", { className: "check" }, box, "show"));
    }
    row.append(line, element("p", { className: "note numbers" }));
    return row;
  }

  /** Set the numbers beside the targets, a text for each. */
  tell(texts) {
    this.list.querySelectorAll(".numbers").forEach((one, k) => (one.textContent = texts[k]));
  }
}

export function element(name, properties = {}, ...children) {
  const found = Object.assign(document.createElement(name), properties);
  found.append(...children);
  return found;
}
