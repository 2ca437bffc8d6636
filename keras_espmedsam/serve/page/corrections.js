// What a person painted on the mask of one target, stroke by stroke.

export class Corrections {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.edits = new Uint8Array(width * height);
    this.strokes = [];
    this.undone = [];
    this.stroke = null;
    this.last = null;
  }

  get any() {
    return this.strokes.length > 0;
  }

  begin(value) {
    this.stroke = { value, places: [], before: [] };
    this.last = null;
  }

  /** Paint with a round brush, so many pixels across, from the last point to this one. */
  paint(x, y, size) {
    const from = this.last ?? [x, y];
    const steps = Math.max(1, Math.ceil(Math.hypot(x - from[0], y - from[1]) / Math.max(1, size / 4)));
    for (let k = this.last ? 1 : steps; k <= steps; k++) {
      const part = k / steps;
      this.#disc(
        Math.round(from[0] + part * (x - from[0])),
        Math.round(from[1] + part * (y - from[1])),
        size / 2,
      );
    }
    this.last = [x, y];
  }

  #disc(x, y, radius) {
    const { value, places, before } = this.stroke;
    const reach = Math.floor(radius);
    for (let v = Math.max(0, y - reach); v <= Math.min(this.height - 1, y + reach); v++) {
      for (let u = Math.max(0, x - reach); u <= Math.min(this.width - 1, x + reach); u++) {
        const place = v * this.width + u;
        if ((u - x) ** 2 + (v - y) ** 2 > radius ** 2 || this.edits[place] === value) continue;
        places.push(place);
        before.push(this.edits[place]);
        this.edits[place] = value;
      }
    }
  }

  /** End the stroke; one that changed nothing is no step to undo. */
  end() {
    if (this.stroke?.places.length) {
      this.strokes.push(this.stroke);
      this.undone = [];
    }
    this.stroke = null;
  }

  /** Take back what was painted since `begin`. */
  cancel() {
    if (this.stroke) this.#restore(this.stroke);
    this.stroke = null;
  }

  undo() {
    const stroke = this.strokes.pop();
    if (!stroke) return;
    this.#restore(stroke);
    this.undone.push(stroke);
  }

  redo() {
    const stroke = this.undone.pop();
    if (!stroke) return;
    for (const place of stroke.places) this.edits[place] = stroke.value;
    this.strokes.push(stroke);
  }

  #restore({ places, before }) {
    for (let k = 0; k < places.length; k++) this.edits[places[k]] = before[k];
  }
}
