// The viewer of a subject's volumes: three linked planes of five images, and two images under one slider.
// Zoom, letters, crosshair and scale bar lie over the pictures, in pixels of the screen.
// Data come from viewer.py: sheets of axial slices in which the front is up and the patient's right is right.
const palettes = JSON.parse(document.getElementById("palettes")?.textContent ?? "{}");
const PLANES = {
  axial: {axis: 2, across: 0, up: 1, letters: "LRAP"},
  coronal: {axis: 1, across: 0, up: 2, letters: "LRSI"},
  sagittal: {axis: 0, across: 1, up: 2, letters: "PASI"},
};
// Lengths of scale bars in mm: the longest that takes less than half of a picture.
const BARS = [50, 20, 10, 5, 2];
const within = (value, low, high) => Math.min(Math.max(value, low), high);

class Viewer {
  constructor(root) {
    this.root = root;
    this.data = JSON.parse(root.querySelector("script").textContent);
    this.volumes = new Map();
    this.at = this.data.shape.map(n => Math.floor(n / 2));
    this.focus = [...this.at];
    this.sliders = [...root.querySelectorAll("input[data-axis]")];
    this.method = root.querySelector("[data-role=method]");
    this.canvases = [...root.querySelectorAll("canvas[data-image]")];
    this.stage = root.querySelector("canvas[data-role=stage]");
    this.split = root.querySelector("[data-role=split]");
    for (const slider of this.sliders) {
      slider.max = this.data.shape[slider.dataset.axis] - 1;
      slider.addEventListener("input", () => this.move(slider.dataset.axis, slider.valueAsNumber));
    }
    [this.zoom, this.level, this.window] = ["zoom", "level", "window"].map(role => root.querySelector(`[data-role=${role}]`));
    this.crossed = root.querySelector("[data-role=cross]");
    for (const control of root.querySelectorAll("select, .display input, [data-role=cross]")) control.addEventListener("input", () => this.draw());
    // Whoever reads one participant that way reads all of them so.
    root.querySelector("[data-role=convention]").addEventListener("change", event => Viewer.convention(event.target.value));
    root.querySelector("[data-role=middle]").addEventListener("click", () => this.go(this.data.shape.map(n => Math.floor(n / 2))));
    root.querySelector("[data-role=reset]").addEventListener("click", () => {
      for (const control of [this.zoom, this.level, this.window]) control.value = control.defaultValue;
      this.draw();
    });
    this.split.addEventListener("input", () => this.drawStage());
    for (const canvas of [...this.canvases, this.stage]) this.listen(canvas);
    root.hidden = false;
    this.draw();
  }

  static convention(value) {
    for (const select of document.querySelectorAll(".viewer [data-role=convention]")) {
      select.value = value;
      select.closest(".viewer").viewer?.draw();
    }
  }

  // Whether a plane is seen from the patient's feet or front: the patient's left is on the right then.
  mirrored({across}) {
    return across === 0 && this.root.querySelector("[data-role=convention]").value === "radiological";
  }

  plane(canvas) {
    return PLANES[canvas === this.stage ? this.root.querySelector("[data-role=plane]").value : canvas.dataset.plane];
  }

  listen(canvas) {
    const point = event => {
      const box = canvas.getBoundingClientRect();
      const [u, v] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      if (canvas === this.stage) {
        this.split.value = Math.round(100 * u);
        this.drawStage();
        return;
      }
      const plane = this.plane(canvas);
      const {across, up} = plane;
      const place = (share, axis) => within(Math.floor(share * this.data.shape[axis]), 0, this.data.shape[axis] - 1);
      this.at[across] = place(this.mirrored(plane) ? 1 - u : u, across);
      this.at[up] = place(1 - v, up);
      this.draw();
    };
    canvas.addEventListener("pointerdown", event => {
      canvas.focus({preventScroll: true});
      canvas.setPointerCapture(event.pointerId);
      point(event);
    });
    canvas.addEventListener("pointermove", event => { if (event.buttons) point(event); });
    // While the crosshair is drawn about, the picture stays.
    canvas.addEventListener("pointerup", () => this.go(this.at));
    // Only a viewer that was clicked takes the wheel, so that the page scrolls past the others.
    canvas.addEventListener("wheel", event => {
      if (!this.root.contains(document.activeElement) || !event.deltaY) return;
      event.preventDefault();
      const {axis} = this.plane(canvas);
      this.move(axis, this.at[axis] - Math.sign(event.deltaY));
    }, {passive: false});
    canvas.addEventListener("keydown", event => {
      if ("+-0".includes(event.key)) {
        this.zoom.value = event.key === "0" ? 1 : this.zoom.valueAsNumber * (event.key === "+" ? 1.25 : 0.8);
        this.go(this.at);
        return;
      }
      const step = {ArrowUp: 1, ArrowRight: 1, PageUp: 10, ArrowDown: -1, ArrowLeft: -1, PageDown: -10}[event.key];
      if (!step) return;
      event.preventDefault();
      const {axis} = this.plane(canvas);
      this.move(axis, this.at[axis] + step);
    });
  }

  move(axis, index) {
    this.go(this.at.map((n, i) => i === Number(axis) ? within(index, 0, this.data.shape[axis] - 1) : n));
  }

  // The crosshair there, and what is enlarged around it.
  go(place) {
    this.at = [...place];
    this.focus = [...place];
    this.draw();
  }

  visit(method, place) {
    if ([...this.method.options].some(option => option.value === method)) this.method.value = method;
    const {shape, start, spacing} = this.data;
    this.go(place.map((mm, axis) => within(Math.round((mm - start[axis]) / spacing[axis]), 0, shape[axis] - 1)));
  }

  // Grey levels of a sheet, x fastest, then rows from the front, then slices from below; null where there is none.
  volume(name) {
    if (!(name in this.data.sheets)) return Promise.resolve(null);
    if (!this.volumes.has(name)) {
      this.volumes.set(name, (async () => {
        const [width, height, depth] = this.data.shape;
        const picture = new Image();
        picture.src = this.data.sheets[name];
        await picture.decode();
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
        const context = canvas.getContext("2d", {willReadFrequently: true});
        context.drawImage(picture, 0, 0);
        const values = new Uint8Array(width * height * depth);
        for (let slice = 0; slice < depth; slice++) {
          const [row, column] = [Math.floor(slice / this.data.columns), slice % this.data.columns];
          const pixels = context.getImageData(column * width, row * height, width, height).data;
          for (let i = 0; i < width * height; i++) values[slice * width * height + i] = pixels[4 * i];
        }
        return values;
      })());
    }
    return this.volumes.get(name);
  }

  // Values of a plane through the crosshair, row by row from the top, as they are seen.
  cut(values, plane) {
    const {across, up} = plane;
    const mirrored = this.mirrored(plane);
    const [width, height] = this.data.shape;
    const [columns, rows] = [this.data.shape[across], this.data.shape[up]];
    const result = new Uint8Array(columns * rows);
    const place = [...this.at];
    for (let row = 0, i = 0; row < rows; row++) {
      place[up] = rows - 1 - row;
      for (let column = 0; column < columns; column++, i++) {
        place[across] = mirrored ? columns - 1 - column : column;
        result[i] = values[place[0] + width * (height - 1 - place[1] + height * place[2])];
      }
    }
    return result;
  }

  paint(canvas, plane, level) {
    const [columns, rows] = [this.data.shape[plane.across], this.data.shape[plane.up]];
    if (canvas.width !== columns || canvas.height !== rows) [canvas.width, canvas.height] = [columns, rows];
    canvas.style.aspectRatio = `${columns * this.data.spacing[plane.across]} / ${rows * this.data.spacing[plane.up]}`;
    const picture = new ImageData(columns, rows);
    for (let i = 0; i < columns * rows; i++) {
      const [red, green, blue] = level(i);
      picture.data.set([red, green, blue, 255], 4 * i);
    }
    canvas.getContext("2d").putImageData(picture, 0, 0);
    this.lay(canvas, plane);
  }

  // Zoom, and what lies over a picture: letters, crosshair, scale bar.
  lay(canvas, plane) {
    const {across, up, letters} = plane;
    const {shape, spacing} = this.data;
    const [zoom, mirrored] = [this.zoom.valueAsNumber, this.mirrored(plane)];
    const share = (place, axis, turned) => (turned ? shape[axis] - 1 - place[axis] + 0.5 : place[axis] + 0.5) / shape[axis];
    const shifted = (axis, turned) => within(0.5 - zoom * share(this.focus, axis, turned), 1 - zoom, 0);
    const [left, top] = [shifted(across, mirrored), shifted(up, true)];
    canvas.style.transform = `translate(${100 * left}%, ${100 * top}%) scale(${zoom})`;
    const spans = [...canvas.parentElement.querySelectorAll("span")];
    const shown = mirrored ? [letters[1], letters[0], letters[2], letters[3]] : [...letters];
    spans.forEach((span, i) => { span.textContent = shown[i]; });
    const lines = canvas.parentElement.querySelectorAll("i");
    const stage = canvas === this.stage;
    const at = stage ? [left + zoom * this.edge(plane) / shape[across], -1]
      : [left + zoom * share(this.at, across, mirrored), top + zoom * share(this.at, up, true)];
    lines.forEach((line, i) => {
      line.hidden = !(stage || this.crossed.checked) || at[i] < 0 || at[i] > 1;
      line.style[i ? "top" : "left"] = `${100 * at[i]}%`;
    });
    const bar = canvas.parentElement.querySelector("b");
    const width = shape[across] * spacing[across] / zoom;
    const length = BARS.find(mm => mm < width / 2) ?? BARS.at(-1);
    bar.style.width = `${100 * length / width}%`;
    bar.textContent = length < 10 ? `${length} mm` : `${length / 10} cm`;
  }

  millimetres(axis) {
    const value = Math.round(this.data.start[axis] + this.at[axis] * this.data.spacing[axis]);
    return `${"xyz"[axis]} = ${String(value).replace("-", "−")} mm`;
  }

  draw() {
    this.drawing = this.render();
    return this.drawing;
  }

  async render() {
    for (const slider of this.sliders) {
      const axis = slider.dataset.axis;
      slider.value = this.at[axis];
      slider.setAttribute("aria-valuetext", `${this.millimetres(axis)}, slice ${this.at[axis] + 1} of ${this.data.shape[axis]}`);
      slider.nextElementSibling.textContent = this.millimetres(axis);
    }
    for (const [control, unit] of [[this.zoom, " ×"], [this.level, " %"], [this.window, " %"]]) {
      control.nextElementSibling.textContent = control.value + unit;
      control.setAttribute("aria-valuetext", control.value + unit);
    }
    const method = this.method.value;
    const names = {input: "input", output: `output ${method}`, target: "target", uncertainty: `uncertainty ${method}`, error: `error ${method}`};
    const loaded = await Promise.all(Object.values(names).map(name => this.volume(name)));
    this.shown = Object.fromEntries(Object.keys(names).map((name, i) => [name, loaded[i]]));
    const greys = this.greys();
    const grey = values => i => { const level = greys[values[i]]; return [level, level, level]; };
    const coloured = (palette, index) => i => palette.slice(3 * index(i), 3 * index(i) + 3);
    for (const canvas of this.canvases) {
      const [image, plane] = [canvas.dataset.image, this.plane(canvas)];
      canvas.closest("figure").hidden = image === "uncertainty" && !this.shown.uncertainty;
      if (canvas.closest("figure").hidden) continue;
      if (image === "error" && !this.shown.error) {
        const [output, target] = [this.shown.output, this.shown.target ?? this.shown.input].map(v => this.cut(v, plane));
        const scale = 127.5 / (255 * this.data.error);
        this.paint(canvas, plane, coloured(palettes.error, i =>
          Math.min(Math.max(Math.round(127.5 + (output[i] - target[i]) * scale), 0), 255)));
      } else {
        const values = this.cut(this.shown[image], plane);
        this.paint(canvas, plane, image in palettes ? coloured(palettes[image], i => values[i]) : grey(values));
      }
      const caption = canvas.closest("figure").querySelector("figcaption");
      caption.textContent = canvas.dataset.label;
      if (["output", "error", "uncertainty"].includes(image)) caption.append(` · ${method}`);
      canvas.setAttribute("aria-label", `${canvas.dataset.label}, ${canvas.dataset.plane}, ${this.millimetres(plane.axis)}, ${method}`);
    }
    this.drawStage();
    this.root.dataset.at = this.at.join(" ");
  }

  // Grey levels through the window: its middle and width are shares of the range that a sheet holds.
  greys() {
    const [level, width] = [this.level.valueAsNumber, this.window.valueAsNumber];
    return Uint8ClampedArray.from({length: 256}, (_, value) => 255 * ((value / 255 - level / 100) / (width / 100) + 0.5));
  }

  // The first column of the image on the right.
  edge({across}) {
    return Math.round(this.split.valueAsNumber / 100 * this.data.shape[across]);
  }

  drawStage() {
    if (!this.shown) return;
    const plane = this.plane(this.stage);
    const [left, right] = ["left", "right"].map(side => this.root.querySelector(`[data-role=${side}]`));
    const [a, b] = [left, right].map(side => this.cut(this.shown[side.value], plane));
    const [columns, greys, edge] = [this.data.shape[plane.across], this.greys(), this.edge(plane)];
    this.paint(this.stage, plane, i => {
      const value = greys[i % columns < edge ? a[i] : b[i]];
      return [value, value, value];
    });
    const names = [left, right].map(side => side.selectedOptions[0].textContent.toLowerCase());
    this.split.setAttribute("aria-valuetext", `${this.split.value} % ${names[0]}, the rest ${names[1]}`);
    this.stage.setAttribute("aria-label", `${names[0]} left of the edge, ${names[1]} right of it, ${this.millimetres(plane.axis)}`);
  }
}

const start = root => root.viewer ??= new Viewer(root);
for (const root of document.querySelectorAll(".viewer")) {
  const part = root.closest("details");
  if (part.open) start(root);
  else part.addEventListener("toggle", () => start(root), {once: true});
}

// Buttons that lead to a place (world mm) in the images of a participant, where these are on the page.
for (const button of document.querySelectorAll("button[data-place]")) {
  const {participant, method, place} = JSON.parse(button.dataset.place);
  const root = document.querySelector(`.viewer[data-participant="${CSS.escape(participant)}"]`);
  if (!root) continue;
  button.hidden = false;
  button.addEventListener("click", () => {
    root.closest("details").open = true;
    start(root).visit(method, place);
    root.scrollIntoView();
    root.querySelector("[data-axis]").focus({preventScroll: true});
  });
}
