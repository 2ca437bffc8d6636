// The brush on the image, by mouse, pen, finger or keyboard.

const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Brush {
  /**
   * `canvas` has the image's own size, whatever its size on the screen; `cursor` is the ring that
   * shows the brush; `target()` gives the `Corrections` to paint on, or null; `painted()` is called
   * when they changed.
   */
  constructor(canvas, cursor, target, painted) {
    Object.assign(this, { canvas, cursor, target, painted });
    this.value = 0; // ADDED, ERASED, or 0 while the brush is off.
    this.size = 15;
    this.place = null;
    this.painting = null;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", () => this.#up());
    // The browser took the finger over, such as to zoom with a second one.
    canvas.addEventListener("pointercancel", () => this.#up(true));
    canvas.addEventListener("pointerleave", () => this.#hide());
    canvas.addEventListener("blur", () => this.#hide());
    canvas.addEventListener("keydown", (event) => this.#key(event));
  }

  set(value, size) {
    this.value = value;
    this.size = size;
    this.canvas.parentElement.classList.toggle("brush", value !== 0);
    if (value === 0) this.#hide();
    else if (!this.cursor.hidden) this.#show();
  }

  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [
      Math.floor(((event.clientX - box.left) / box.width) * this.canvas.width),
      Math.floor(((event.clientY - box.top) / box.height) * this.canvas.height),
    ];
  }

  #down(event) {
    if (!this.value || event.button !== 0 || !event.isPrimary) return;
    this.painting = this.target();
    if (!this.painting) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.painting.begin(this.value);
    this.#paint([this.#at(event)]);
  }

  #move(event) {
    if (!this.value || !event.isPrimary) return;
    const events = event.getCoalescedEvents?.() ?? [];
    const places = (events.length ? events : [event]).map((one) => this.#at(one));
    if (this.painting) this.#paint(places);
    else this.#go(places.at(-1));
  }

  #paint(places) {
    for (const [x, y] of places) this.painting.paint(x, y, this.size);
    this.#go(places.at(-1));
    this.painted();
  }

  #up(cancel = false) {
    if (!this.painting) return;
    if (cancel) this.painting.cancel();
    else this.painting.end();
    this.painting = null;
    this.painted();
  }

  #key(event) {
    if (!this.value || event.ctrlKey || event.metaKey || event.altKey) return;
    const { width, height } = this.canvas;
    const [x, y] = this.place ?? [Math.floor(width / 2), Math.floor(height / 2)];
    if (event.key in KEYS) {
      const step = event.shiftKey ? 1 : Math.max(1, Math.round(this.size / 2));
      const [right, down] = KEYS[event.key];
      this.#go([
        Math.min(width - 1, Math.max(0, x + step * right)),
        Math.min(height - 1, Math.max(0, y + step * down)),
      ]);
    } else if (event.key === " ") {
      this.painting = this.target();
      if (!this.painting) return;
      this.painting.begin(this.value);
      this.#paint([[x, y]]);
      this.#up();
    } else return;
    this.cursor.scrollIntoView({ block: "nearest", inline: "nearest" });
    event.preventDefault();
  }

  #go(place) {
    this.place = place;
    this.#show();
  }

  #show() {
    const { width, height } = this.canvas;
    const { style } = this.cursor;
    const [x, y] = this.place;
    style.left = `${(100 * (x + 0.5)) / width}%`;
    style.top = `${(100 * (y + 0.5)) / height}%`;
    style.width = `${(100 * this.size) / width}%`;
    style.height = `${(100 * this.size) / height}%`;
    this.cursor.hidden = false;
  }

  #hide() {
    this.cursor.hidden = true;
  }
}
