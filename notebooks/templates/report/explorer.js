// The explorer: every <section class="explorer"> carries one model as JSON (support/report/explorer.py); here it gets its
// controls. Encoder, decoder and classifier run in this page; a picture of one's own stays in it.
// index.html.j2 includes this file through Jinja, so it holds none of Jinja's opening brackets.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const TICKS = 200; // of a slider, from end to end
  const PAD = 120, MARGIN = 8; // side of a pad in its own units, and the rim where a mark at its end is still whole
  const SETTLE = 500; // ms without a change, after which the change is told
  const FIELD = 280; // side of the field to draw on, in its pixels
  const SAVED = 8; // pixels of a saved picture, to each side, for one of the model's
  const GREY = [0.299, 0.587, 0.114]; // of red, green and blue, as Pillow mixes them
  let elements = 0; // for ids

  // --- numbers ------------------------------------------------------------------------------------------------

  const sigmoid = (u) => 1 / (1 + Math.exp(-u));
  const percent = (p) => `${Math.round(100 * p)} %`;
  const number = (value) => (Math.round(100 * value) / 100 || 0).toFixed(2).replace("-", "\u2212"); // no −0
  const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);

  function normal() { // Box and Muller
    return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  }

  const halves = (() => { // what each of the 65,536 half floats is; made when it is first asked for
    let table = null;
    return () => table ??= Float32Array.from({ length: 65536 }, (_, bits) => {
      const fraction = bits & 1023, exponent = (bits >> 10) & 31;
      const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
      return bits & 32768 ? -size : size;
    });
  })();

  function halfFloats(base64) { // little-endian half floats; none is infinite
    const bytes = atob(base64), values = new Float32Array(bytes.length / 2), table = halves();
    for (let i = 0; i < values.length; i++) {
      values[i] = table[bytes.charCodeAt(2 * i) | (bytes.charCodeAt(2 * i + 1) << 8)];
    }
    return values;
  }

  // --- the networks -------------------------------------------------------------------------------------------
  // Feature maps lie channels last. A layer is a function from one Float32Array to another, which it keeps.

  function linear(weight, bias, inputs, relu) {
    const out = new Float32Array(bias.length);
    return (x) => {
      for (let o = 0, w = 0; o < out.length; o++) {
        let sum = bias[o];
        for (let i = 0; i < inputs; i++) sum += weight[w++] * x[i];
        out[o] = relu && sum < 0 ? 0 : sum;
      }
      return out;
    };
  }

  // Rows of a matrix that are (channels, pixels), sorted to (pixels, channels); width: what a row holds.
  function channelsLast(values, channels, pixels, width) {
    const sorted = new Float32Array(values.length);
    for (let c = 0; c < channels; c++) {
      for (let p = 0; p < pixels; p++) {
        const from = (c * pixels + p) * width;
        sorted.set(values.subarray(from, from + width), (p * channels + c) * width);
      }
    }
    return sorted;
  }

  // One output pixel of a kernel of 4 x 4: a sum over the `count` input pixels that reach it, each by one of the 16
  // taps. Four output channels at a time stay in registers, so their weights lie side by side:
  // [tap][group of channels][input][4]. first(i, o): where the 16 weights from input i to output o begin.
  function gathered(weight, bias, inputs, outputs, first, relu) {
    const groups = Math.ceil(outputs / 4), tap = groups * inputs * 4;
    const laid = new Float32Array(16 * tap), start = new Float32Array(4 * groups);
    start.set(bias);
    for (let i = 0; i < inputs; i++) {
      for (let o = 0; o < outputs; o++) {
        const at = ((o >> 2) * inputs + i) * 4 + (o & 3), from = first(i, o);
        for (let k = 0; k < 16; k++) laid[k * tap + at] = weight[from + k];
      }
    }
    return (x, out, at, count, pixels, taps) => {
      for (let g = 0; g < groups; g++) {
        let s0 = start[4 * g], s1 = start[4 * g + 1], s2 = start[4 * g + 2], s3 = start[4 * g + 3];
        for (let t = 0; t < count; t++) {
          let w = taps[t] * tap + g * inputs * 4;
          for (let i = pixels[t], end = i + inputs; i < end; i++, w += 4) {
            const v = x[i];
            s0 += v * laid[w];
            s1 += v * laid[w + 1];
            s2 += v * laid[w + 2];
            s3 += v * laid[w + 3];
          }
        }
        const o = at + 4 * g, left = outputs - 4 * g;
        out[o] = relu && s0 < 0 ? 0 : s0;
        if (left > 1) out[o + 1] = relu && s1 < 0 ? 0 : s1;
        if (left > 2) out[o + 2] = relu && s2 < 0 ? 0 : s2;
        if (left > 3) out[o + 3] = relu && s3 < 0 ? 0 : s3;
      }
    };
  }

  // Each pixel of a map of `large` to a side, from those of a map of `side` that reach it; reaching(row, k): the row or
  // column that tap k of that row or column reads, and nothing inside where it reads none.
  function mapped(sum, inputs, outputs, side, large, reaching) {
    const out = new Float32Array(large * large * outputs), pixels = new Int32Array(16), taps = new Int32Array(16);
    return (x) => {
      for (let row = 0, at = 0; row < large; row++) {
        for (let column = 0; column < large; column++, at += outputs) {
          let count = 0;
          for (let ky = 0; ky < 4; ky++) {
            const y = reaching(row, ky);
            if (y < 0 || y >= side) continue;
            for (let kx = 0; kx < 4; kx++) {
              const c = reaching(column, kx);
              if (c < 0 || c >= side) continue;
              pixels[count] = (y * side + c) * inputs;
              taps[count++] = ky * 4 + kx;
            }
          }
          sum(x, out, at, count, pixels, taps);
        }
      }
      return out;
    };
  }

  // Kernel 4, stride 2, padding 1, weight (outputs, inputs, 4, 4).
  function convolution(weight, bias, [outputs, inputs], side, relu) {
    const sum = gathered(weight, bias, inputs, outputs, (i, o) => (o * inputs + i) * 16, relu);
    return mapped(sum, inputs, outputs, side, side >> 1, (row, k) => 2 * row - 1 + k);
  }

  // The same the other way, weight (inputs, outputs, 4, 4): at most 2 x 2 input pixels reach an output pixel.
  function transposedConvolution(weight, bias, [inputs, outputs], side, outputPadding, relu) {
    const sum = gathered(weight, bias, inputs, outputs, (i, o) => (i * outputs + o) * 16, relu);
    const reaching = (row, k) => ((row + 1 - k) & 1 ? -1 : (row + 1 - k) / 2);
    return mapped(sum, inputs, outputs, side, 2 * side + outputPadding, reaching);
  }

  // latents -> the image's mean in [0, 1], (height * width * channels); a new array each time.
  function buildDecoder(model) {
    const channels = model.decoder.find((layer) => layer.shape.length === 4).shape[0];
    let side = Math.sqrt(model.decoder[1].shape[0] / channels);
    const layers = model.decoder.map((layer, n) => {
      let weight = halfFloats(layer.weight), bias = halfFloats(layer.bias);
      const relu = n < model.decoder.length - 1;
      if (layer.shape.length === 4) {
        const run = transposedConvolution(weight, bias, layer.shape, side, layer.output_padding, relu);
        side = 2 * side + layer.output_padding;
        return run;
      }
      if (n === 1) { // what the convolutions take
        weight = channelsLast(weight, channels, side * side, layer.shape[1]);
        bias = channelsLast(bias, channels, side * side, 1);
      }
      return linear(weight, bias, layer.shape[1], relu);
    });
    return (z) => {
      const mean = Float32Array.from(layers.reduce((x, layer) => layer(x), z));
      for (let s = 0; s < model.sigmoids; s++) for (let i = 0; i < mean.length; i++) mean[i] = sigmoid(mean[i]);
      return mean;
    };
  }

  // An image in [0, 1], (height * width * channels) -> the mean of q(z|x); a new array each time.
  function buildEncoder(model) {
    let [channels, side] = model.image_shape;
    const layers = model.encoder.map((layer, n) => {
      let weight = halfFloats(layer.weight);
      const bias = halfFloats(layer.bias), relu = n < model.encoder.length - 1;
      if (layer.shape.length === 4) {
        const run = convolution(weight, bias, layer.shape, side, relu);
        [channels, side] = [layer.shape[0], side >> 1];
        return run;
      }
      if (model.encoder[n - 1].shape.length === 4) { // each row takes what the convolutions give
        const inputs = layer.shape[1], rows = weight;
        weight = new Float32Array(rows.length);
        for (let at = 0; at < rows.length; at += inputs) {
          weight.set(channelsLast(rows.subarray(at, at + inputs), channels, side * side, 1), at);
        }
      }
      return linear(weight, bias, layer.shape[1], relu);
    });
    return (image) => Float64Array.from(layers.reduce((x, layer) => layer(x), image));
  }

  // --- pictures of one's own ----------------------------------------------------------------------------------

  // (outer, length, inner) -> (outer, side, inner), whole grey levels: Pillow's bilinear filter, which is antialiased.
  function resized(values, outer, length, inner, side) {
    const out = new Uint8ClampedArray(outer * side * inner), scale = length / side, reach = Math.max(scale, 1);
    for (let s = 0; s < side; s++) {
      const centre = (s + 0.5) * scale, first = Math.max(0, Math.floor(centre - reach + 0.5));
      const last = Math.min(length, Math.floor(centre + reach + 0.5));
      const weights = Array.from({ length: last - first },
        (_, j) => Math.max(0, 1 - Math.abs((first + j + 0.5 - centre) / reach)));
      const total = weights.reduce((a, b) => a + b, 0);
      for (let o = 0; o < outer; o++) {
        for (let i = 0; i < inner; i++) {
          let sum = 0;
          for (let j = first; j < last; j++) sum += weights[j - first] * values[(o * length + j) * inner + i];
          out[(o * side + s) * inner + i] = sum / total;
        }
      }
    }
    return out;
  }

  // A canvas as an image of the model's, in [0, 1]: the whole picture, as the images that it was trained on.
  function imageOf(canvas, [channels, side]) {
    const { width, height } = canvas;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    const values = new Uint8ClampedArray(width * height * channels);
    for (let p = 0; p < width * height; p++) {
      if (channels === 3) for (let c = 0; c < 3; c++) values[3 * p + c] = data[4 * p + c];
      else values[p] = dot(GREY, [data[4 * p], data[4 * p + 1], data[4 * p + 2]]);
    }
    const across = resized(values, height, width, channels, side);
    return Float32Array.from(resized(across, 1, height, side * channels, side), (level) => level / 255);
  }

  // A drawn digit as the training's digits lie: its longer side 20 of 28 parts, its centre of mass in the middle.
  function centred(canvas) {
    const { width, height } = canvas;
    const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
    const box = [width, height, 0, 0], mass = [0, 0, 0];
    for (let p = 0; p < width * height; p++) {
      const level = data[4 * p], x = p % width, y = Math.floor(p / width);
      if (!level) continue;
      [box[0], box[1], box[2], box[3]] =
        [Math.min(box[0], x), Math.min(box[1], y), Math.max(box[2], x + 1), Math.max(box[3], y + 1)];
      [mass[0], mass[1], mass[2]] = [mass[0] + level, mass[1] + level * (x + 0.5), mass[2] + level * (y + 0.5)];
    }
    if (!mass[0]) return canvas;
    const wide = box[2] - box[0], high = box[3] - box[1], scale = (20 / 28) * width / Math.max(wide, high);
    const moved = el("canvas", { width, height }), context = moved.getContext("2d");
    context.fillRect(0, 0, width, height);
    context.drawImage(canvas, box[0], box[1], wide, high, width / 2 - scale * (mass[1] / mass[0] - box[0]),
      height / 2 - scale * (mass[2] / mass[0] - box[1]), scale * wide, scale * high);
    return moved;
  }

  // --- the document -------------------------------------------------------------------------------------------

  function set(node, attributes, children) {
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value !== false) node.setAttribute(key, value === true ? "" : value);
    }
    node.append(...children);
    return node;
  }
  const el = (tag, attributes = {}, ...children) => set(document.createElement(tag), attributes, children);
  const svg = (tag, attributes = {}, ...children) => set(document.createElementNS(SVG, tag), attributes, children);
  const newId = () => `explorer-${++elements}`;
  const button = (text, onclick, more = {}) => el("button", { type: "button", onclick, ...more }, text);

  function field(text, make) { // a control with its label
    const id = newId(), control = make(id);
    return [control, el("div", { class: "explorer-field" }, el("label", { for: id }, text), control)];
  }

  function paint(canvas, pixels, channels) { // pixels from 0 to 255; the canvas stays in main memory
    const context = canvas.getContext("2d", { willReadFrequently: true });
    const image = context.createImageData(canvas.width, canvas.height);
    for (let p = 0; p < canvas.width * canvas.height; p++) {
      for (let c = 0; c < 3; c++) image.data[4 * p + c] = pixels[p * channels + (channels === 3 ? c : 0)];
      image.data[4 * p + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  // --- how a latent, or a block's own coordinate, is moved ------------------------------------------------------
  // A block's coordinates h are z = origin + axes h, h = read (z - origin): along the direction that the classifier
  // reads, and across it (support/measures/blocks.py); or simply its single latents.

  const unit = (k) => Array.from({ length: k }, (_, i) => Array.from({ length: k }, (_, j) => Number(i === j)));
  const single = (k) => ({ origin: Array(k).fill(0), axes: unit(k), read: unit(k) });

  class Handle {
    constructor(name, latents, way, j, { latent = false, range, marks = [], note = "" }) {
      Object.assign(this, { name, latents, way, j, latent, range, marks, note, ends: range });
    }

    get(z) { return dot(this.way.read[this.j], this.latents.map((latent, i) => z[latent] - this.way.origin[i])); }

    set(z, value) {
      const step = value - this.get(z);
      this.latents.forEach((latent, i) => { z[latent] += step * this.way.axes[i][this.j]; });
    }

    // The ends reach as far as they must.
    reach(...latents) {
      const held = latents.map((z) => this.get(z)), [low, high] = this.range;
      const ends = [Math.min(low, ...held), Math.max(high, ...held)];
      this.ends = ends[0] < ends[1] ? ends : [ends[0] - 1, ends[1] + 1];
    }

    valueAt(share) { return this.ends[0] + (this.ends[1] - this.ends[0]) * share; }
    shareOf(value) { return (value - this.ends[0]) / (this.ends[1] - this.ends[0]); }
  }

  function handlesOfBlock(model, label, latents, turned) {
    const k = latents.length, way = turned ? model.blocks[label] : single(k), spread = model.style_range[1];
    return latents.map((latent, j) => {
      const means = model.prior.map((of) => dot(way.read[j], of[label].mean.map((m, i) => m - way.origin[i])));
      const around = [Math.min(...means) - spread, Math.max(...means) + spread];
      const across = k > 2 ? `across ${j}` : "across", alone = k > 1 ? `latent ${j + 1}` : "latent";
      const name = turned ? (j ? across : "along") : alone;
      const about = turned ? { range: around } : { range: model.ranges[latent], latent };
      return new Handle(name, latents, way, j, { ...about, marks: means });
    });
  }

  // --- one explorer -------------------------------------------------------------------------------------------

  class Explorer {
    constructor(section, model) {
      this.model = model;
      this.section = section;
      this.decoder = buildDecoder(model);
      this.encoder = buildEncoder(model);
      this.starts = model.starts.map((start) => ({ name: start.name, z: Float64Array.from(start.z) }));
      this.blocks = model.latents;
      this.sliders = []; // {handle, input, value, ticks}
      this.views = {};
      this.stepMs = 0;
      this.build();
      this.choose(model.first);
      this.begin(0);
      this.draw();
      this.status.textContent = ""; // to come near is nothing to be told of
    }

    decode(z) { return this.decoder(z); }
    encode(image) { return this.encoder(image); }

    // Each label's probability by latents, of a categorical label's values together 1; of a number how far it is
    // between the ends of its unit.
    chances(z = this.z) {
      const logits = this.blocks.map((block, label) => {
        const { weight, bias } = this.model.classifier[label];
        return bias + dot(weight, block.map((latent) => z[latent]));
      });
      const chances = logits.map((u, label) => {
        const ends = this.model.numbers?.[label];
        return ends ? (u - ends.low) / (ends.high - ends.low) : sigmoid(u);
      });
      for (const values of this.model.choices) {
        const largest = Math.max(...values.map((label) => logits[label]));
        const parts = values.map((label) => Math.exp(logits[label] - largest));
        const total = parts.reduce((sum, part) => sum + part, 0);
        values.forEach((label, i) => { chances[label] = parts[i] / total; });
      }
      return chances;
    }

    // One of these as text.
    said(label, chance) {
      const ends = this.model.numbers?.[label];
      if (!ends) return percent(chance);
      const value = ends.first + (ends.last - ends.first) * chance;
      const text = ends.digits === null ? Number(value.toPrecision(4)).toString() : value.toFixed(ends.digits);
      return text.replace("-", "\u2212");
    }

    allSaid(chances) { return chances.map((chance, label) => this.said(label, chance)); }

    // The same by a picture, which is encoded again; pixels: from 0 to 255.
    reading(pixels) { return this.chances(this.encode(pixels.map((level) => level / 255))); }

    // Parts of the page, made once.
    build() {
      this.status = el("p", { class: "explorer-status", role: "status" });
      this.panels = this.model.labels.map((name, label) => this.panel(name, label));
      const labels = el("div", { class: "explorer-labels" }, this.panelBox(), this.readings());
      const side = el("div", { class: "explorer-side" },
        this.controls(), this.ownPicture(), this.status, labels, this.styleSliders());
      const body = el("div", { class: "explorer-body" }, this.pictures(), side);
      this.section.querySelector(".explorer-closed").replaceWith(body);
    }

    picture(name, text) {
      const [, height, width] = this.model.image_shape;
      const canvas = el("canvas", { width, height, role: "img", "aria-label": text });
      const caption = el("figcaption", {}, name), node = el("figure", { class: `explorer-${name}` }, canvas, caption);
      this.views[name] = { canvas, caption, node };
      return node;
    }

    pictures() {
      const said = { now: "The picture that the sliders make", start: "The picture of the start",
        other: "The picture of the other image", yours: "Your picture, as the model sees it" };
      const all = Object.entries(said).map(([name, text]) => this.picture(name, text));
      this.views.yours.node.hidden = true;
      return el("div", { class: "explorer-pictures" }, ...all);
    }

    controls() {
      let startField, otherField;
      const chosen = (onchange) => (id) => el("select", { id, onchange });
      [this.startSelect, startField] = field("Start from", chosen(() => this.begin(this.startSelect.selectedIndex)));
      [this.otherSelect, otherField] = field("Swap with", chosen(() => this.showOther()));
      this.starts.forEach((start) => this.offer(start));
      this.otherSelect.selectedIndex = Math.min(1, this.starts.length - 1);
      this.compare = button("Difference", () => this.toggleDifference(), { "aria-pressed": "false" });
      const buttons = [button("Reset all", () => { this.move(this.start.z); this.settle(); }), this.compare,
        button("Save picture", () => this.save()), button("Copy vector", () => this.copy())];
      [this.vector, this.vectorField] =
        field("The vector, to copy", (id) => el("textarea", { id, readonly: true, rows: 3 }));
      this.vectorField.hidden = true;
      return el("div", { class: "explorer-controls" }, startField, otherField, this.sampleControls(),
        el("div", { class: "explorer-buttons" }, ...buttons), this.vectorField);
    }

    // Labels for a sample: one of them where they exclude each other, else any.
    sampleControls() {
      const { labels, exclusive } = this.model, make = button("New sample", () => this.sample());
      if (exclusive) {
        const [select, node] =
          field("Sample with", (id) => el("select", { id }, ...labels.map((name) => el("option", {}, name))));
        node.append(make);
        this.wanted = () => labels.map((_, label) => Number(label === select.selectedIndex));
        return node;
      }
      const boxes = labels.map((name) => el("input", { type: "checkbox", "aria-label": name }));
      this.wanted = () => boxes.map((box) => Number(box.checked));
      const list = boxes.map((box, label) => {
        const ends = this.model.numbers?.[label] ? `: ${this.said(label, 1)}, else ${this.said(label, 0)}` : "";
        return el("label", {}, box, ` ${labels[label]}${ends}`);
      });
      return el("div", { class: "explorer-field" }, make, el("details", {},
        el("summary", {}, "Labels of the sample"), el("div", { class: "explorer-checks" }, ...list)));
    }

    offer(start) {
      for (const select of [this.startSelect, this.otherSelect]) select.append(el("option", {}, start.name));
    }

    // --- labels: what they read, and one that is moved

    // Both readings of every label, a row each; a row's button chooses its label.
    readings() {
      const bar = () => el("span", { class: "explorer-bar", "aria-hidden": "true" });
      this.rows = this.model.labels.map((name, label) => {
        const cells = ["explorer-chance", "explorer-read"].map((kind) => {
          const text = el("span", { class: kind }), shown = bar();
          return { text, shown, node: el("td", {}, text, shown) };
        });
        const choose = button(name, () => this.choose(label), { "aria-pressed": "false" });
        const node = el("tr", {}, el("th", { scope: "row" }, choose), ...cells.map((cell) => cell.node));
        return { node, choose, cells };
      });
      const heads = ["label", "its latents say", "the picture reads"].map((text) => el("th", { scope: "col" }, text));
      const what = this.model.numbers ? "Probabilities and numbers" : "Probabilities";
      return el("table", { class: "explorer-readings" }, el("caption", {}, `${what}; the line is the start's`),
        el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...this.rows.map((row) => row.node)));
    }

    panelBox() {
      const names = this.model.labels.map((name) => el("option", {}, name));
      const [select, node] = field("Label to move",
        (id) => el("select", { id, onchange: () => this.choose(this.labelSelect.selectedIndex) }, ...names));
      this.labelSelect = select;
      const box = el("input", { type: "checkbox", onchange: () => this.turn(!box.checked) });
      const panels = this.panels.map((panel) => panel.node);
      return el("div", { class: "explorer-panel" }, node, ...panels,
        el("label", { class: "explorer-single" }, box, " single latents"));
    }

    // A label's controls: along and across, and its single latents, which stay hidden until they are asked for.
    panel(name, label) {
      const block = this.blocks[label];
      const take = (from) => {
        const z = this.z.slice();
        for (const latent of block) z[latent] = from.z[latent];
        this.move(z);
        this.settle();
      };
      const ways = [true, false].map((turned) => {
        const handles = handlesOfBlock(this.model, label, block, turned);
        const pad = handles.length > 1 ? new Pad(this, label, handles) : null;
        const sliders = handles.map((handle) => this.slider(handle));
        return { pad, node: el("div", { hidden: !turned }, ...(pad ? [pad.node] : []), ...sliders) };
      });
      const buttons = el("div", { class: "explorer-buttons" },
        button("Reset", () => take(this.start), { "aria-label": `Reset ${name}` }),
        button("Swap", () => take(this.source), { "aria-label": `Swap ${name} with the other image` }));
      const node = el("fieldset", { class: "explorer-label", hidden: true },
        el("legend", {}, name), ...ways.map((way) => way.node), buttons);
      return { node, ways, pads: ways.flatMap((way) => (way.pad ? [way.pad] : [])) };
    }

    choose(label) {
      this.label = label;
      this.labelSelect.selectedIndex = label;
      this.panels.forEach((panel, i) => { panel.node.hidden = i !== label; });
      this.rows.forEach(({ choose }, i) => choose.setAttribute("aria-pressed", i === label));
    }

    turn(turned) {
      for (const { ways } of this.panels) ways.forEach((way, n) => { way.node.hidden = turned !== (n === 0); });
    }

    // A slider; its marks: where the conditional prior has its mean without and with the label.
    slider(handle) {
      const id = newId(), value = el("span", { class: "explorer-value", "aria-hidden": "true" });
      const input = el("input", { id, type: "range", min: 0, max: TICKS, step: 1,
        "data-latent": handle.latent,
        oninput: () => { handle.set(this.z, handle.valueAt(input.valueAsNumber / TICKS)); this.schedule(); },
        onchange: () => this.settle() });
      const ticks = handle.marks.map((_, label) => el("span", { class: `explorer-mark explorer-mark-${label}` }));
      const marks = el("div", { class: "explorer-marks", "aria-hidden": "true" }, ...ticks);
      this.sliders.push({ handle, input, value, ticks });
      const about = handle.note ? [" ", el("small", {}, handle.note)] : [];
      return el("div", { class: "explorer-slider" }, el("label", { for: id }, handle.name, ...about), value,
        el("div", { class: "explorer-track" }, input, marks));
    }

    styleSliders() {
      const first = 1 + Math.max(...this.blocks.flat());
      const rows = this.model.style.map(([latent, change]) => this.slider(new Handle(`style ${latent - first + 1}`,
        [latent], single(1), 0, { latent, range: this.model.style_range, note: `${change.toFixed(1)} grey levels` })));
      return el("details", { class: "explorer-style", hidden: !rows.length },
        el("summary", {}, `Style: ${rows.length} latents, those that change most first`),
        el("div", { class: "explorer-styles" }, ...rows));
    }

    // --- a picture of one's own: a file, or a drawing

    ownPicture() {
      const [file, fileField] = field("A picture file",
        (id) => el("input", { id, type: "file", accept: "image/*", onchange: () => this.readFile(file.files[0]) }));
      this.paper = el("canvas", { width: FIELD, height: FIELD, role: "img", "aria-label": "The drawing" });
      const pen = this.paper.getContext("2d", { willReadFrequently: true });
      const [colour, colourField] = field("Colour", (id) => el("input", { id, type: "color", value: "#ffffff" }));
      const [width, widthField] =
        field("Width of the pen", (id) => el("input", { id, type: "range", min: 4, max: 40, value: 22 }));
      const at = (event) => {
        const box = this.paper.getBoundingClientRect(), scale = FIELD / box.width;
        return [scale * (event.clientX - box.left), scale * (event.clientY - box.top)];
      };
      const line = (from, to) => {
        Object.assign(pen, { lineCap: "round", strokeStyle: colour.value, lineWidth: width.valueAsNumber });
        pen.beginPath();
        pen.moveTo(...from);
        pen.lineTo(...to);
        pen.stroke();
        this.last = to;
      };
      const clear = () => { pen.fillStyle = "#000000"; pen.fillRect(0, 0, FIELD, FIELD); this.over = false; };
      const copy = () => {
        pen.imageSmoothingEnabled = false;
        pen.drawImage(this.views.now.canvas, 0, 0, FIELD, FIELD);
        this.over = true; // drawn over a picture, which lies where it should
      };
      this.paper.addEventListener("pointerdown", (event) => {
        this.paper.setPointerCapture(event.pointerId);
        line(at(event), at(event));
      });
      this.paper.addEventListener("pointermove", (event) => { if (event.buttons) line(this.last, at(event)); });
      clear();
      const buttons = el("div", { class: "explorer-buttons" }, button("Read the drawing", () => this.readDrawing()),
        button("Draw over the picture", copy), button("Clear", clear));
      const tools = el("div", {}, fileField, colourField, widthField, buttons);
      return el("details", { class: "explorer-own" }, el("summary", {}, "Your own picture: a file, or a drawing"),
        el("p", {}, "It is read in this page and goes nowhere."),
        el("div", { class: "explorer-drawing" }, this.paper, tools));
    }

    async readFile(file) {
      if (!file) return;
      try {
        const bitmap = await createImageBitmap(file);
        const canvas = el("canvas", { width: bitmap.width, height: bitmap.height });
        canvas.getContext("2d").drawImage(bitmap, 0, 0);
        this.read(imageOf(canvas, this.model.image_shape), `your picture ${file.name}`);
      } catch { // no picture, or one that the browser can't read
        this.status.textContent = `${file.name} can't be read as a picture.`;
      }
    }

    readDrawing() {
      const canvas = this.model.task === "mnist" && !this.over ? centred(this.paper) : this.paper;
      this.drawings = (this.drawings ?? 0) + 1;
      this.read(imageOf(canvas, this.model.image_shape), `your drawing ${this.drawings}`);
    }

    // Encode an image in [0, 1] and start from it.
    read(image, name) {
      this.starts.push({ name, z: this.encode(image), given: image });
      this.offer(this.starts.at(-1));
      this.begin(this.starts.length - 1);
      const chances = this.chances(this.start.z);
      const most = chances.map((_, label) => label).sort((a, b) => chances[b] - chances[a]).slice(0, 3);
      const said = most.map((label) => `${this.model.labels[label]} ${this.said(label, chances[label])}`).join(", ");
      this.status.textContent = `Read ${name}: ${said}.`;
    }

    // --- what happens

    begin(position) {
      this.start = this.starts[position];
      this.startSelect.selectedIndex = position;
      this.startPixels = this.pixels(this.start.z);
      this.before = [this.chances(this.start.z), this.reading(this.startPixels)];
      this.told = this.before.map((chances) => this.allSaid(chances));
      this.before.forEach((chances, kind) => chances.forEach((chance, label) =>
        this.rows[label].cells[kind].shown.style.setProperty("--start", Math.min(1, Math.max(0, chance)))));
      clearTimeout(this.timer);
      this.status.textContent = `Starts from ${this.start.name}.`;
      const { yours } = this.views;
      yours.node.hidden = !this.start.given;
      if (this.start.given) paint(yours.canvas, this.start.given.map((v) => 255 * v), this.model.image_shape[0]);
      if (!this.difference) this.showStart();
      this.showOther();
      this.move(this.start.z);
    }

    // All latents at once.
    move(z) {
      this.z = Float64Array.from(z);
      for (const { handle, ticks } of this.sliders) {
        handle.reach(this.z, this.start.z);
        ticks.forEach((tick, n) => tick.style.setProperty("--share", handle.shareOf(handle.marks[n])));
      }
      for (const { pads } of this.panels) for (const pad of pads) pad.redraw();
      this.schedule();
    }

    // A draw of p(z_c|y) for the labels that are wanted, and of N(0, 1) for style.
    drawSample() {
      const z = new Float64Array(this.start.z.length).map(normal), { prior, labels, choices } = this.model;
      const wanted = this.wanted();
      for (const values of choices) { // one of them: the last that is wanted, or any
        const chosen = values.findLast((label) => wanted[label]) ?? values[Math.floor(values.length * Math.random())];
        for (const label of values) wanted[label] = Number(label === chosen);
      }
      const drawn = new Set(choices.flat().filter((label) => !wanted[label])); // with the value that is wanted
      this.blocks.forEach((block, label) => {
        if (drawn.has(label)) return;
        const { mean, factor } = prior[wanted[label]][label], noise = block.map((latent) => z[latent]);
        block.forEach((latent, j) => { z[latent] = mean[j] + dot(factor[j], noise); });
      });
      return { name: labels.filter((_, label) => wanted[label]).join(", ") || "none", z };
    }

    sample() {
      const { name, z } = this.drawSample();
      this.samples = (this.samples ?? 0) + 1;
      this.starts.push({ name: `sample ${this.samples}: ${name}`, z });
      this.offer(this.starts.at(-1));
      this.begin(this.starts.length - 1);
    }

    save() {
      const { canvas } = this.views.now;
      const large = el("canvas", { width: SAVED * canvas.width, height: SAVED * canvas.height });
      const context = large.getContext("2d");
      context.imageSmoothingEnabled = false;
      context.drawImage(canvas, 0, 0, large.width, large.height);
      el("a", { href: large.toDataURL("image/png"), download: `${this.model.task}.png` }).click();
      this.status.textContent = `The picture was saved as ${this.model.task}.png.`;
    }

    async copy() {
      const text = `[${Array.from(this.z, (value) => Number(value.toFixed(6))).join(", ")}]`;
      try {
        await navigator.clipboard.writeText(text);
        this.vectorField.hidden = true;
        this.status.textContent = "The vector was copied.";
      } catch { // refused, or none in this browser
        this.vectorField.hidden = false;
        this.vector.value = text;
        this.vector.focus();
        this.vector.select();
        this.status.textContent = "The browser did not let the page copy; the vector stands in a field, selected.";
      }
    }

    // --- what is shown

    pixels(z) { return this.decode(z).map((mean) => 255 * mean); }

    schedule() { // at most one step a frame
      this.frame ??= requestAnimationFrame(() => this.draw());
    }

    draw() {
      const started = performance.now();
      if (this.frame) cancelAnimationFrame(this.frame);
      this.frame = null;
      this.nowPixels = this.pixels(this.z);
      this.now = [this.chances(), this.reading(this.nowPixels)];
      paint(this.views.now.canvas, this.nowPixels, this.model.image_shape[0]);
      if (this.difference) this.showDifference();
      this.now.forEach((chances, kind) => chances.forEach((chance, label) => {
        const { text, shown } = this.rows[label].cells[kind];
        text.textContent = this.said(label, chance);
        shown.style.setProperty("--chance", Math.min(1, Math.max(0, chance)));
      }));
      for (const { handle, input, value } of this.sliders) {
        const held = handle.get(this.z), text = number(held);
        input.value = Math.round(TICKS * handle.shareOf(held));
        if (value.textContent === text) continue;
        value.textContent = text;
        input.setAttribute("aria-valuetext", text);
      }
      for (const { pads } of this.panels) for (const pad of pads) pad.point();
      this.stepMs = performance.now() - started;
    }

    showStart() {
      paint(this.views.start.canvas, this.startPixels, this.model.image_shape[0]);
      this.views.start.caption.textContent = "start";
      this.views.start.canvas.setAttribute("aria-label", "The picture of the start");
    }

    showOther() {
      this.source = this.starts[this.otherSelect.selectedIndex];
      paint(this.views.other.canvas, this.pixels(this.source.z), this.model.image_shape[0]);
    }

    // Absolute change of each pixel, mean over channels, the largest drawn white.
    showDifference() {
      const [channels] = this.model.image_shape, { canvas, caption } = this.views.start;
      const change = new Float32Array(this.nowPixels.length / channels);
      this.nowPixels.forEach((value, i) => {
        change[Math.floor(i / channels)] += Math.abs(value - this.startPixels[i]) / channels;
      });
      const largest = change.reduce((a, b) => Math.max(a, b), 0), levels = Math.round(largest);
      paint(canvas, largest ? change.map((value) => 255 * value / largest) : change, 1);
      caption.textContent = `difference, white: ${levels}`;
      canvas.setAttribute("aria-label", `Difference from the start, at most ${levels} grey levels`);
    }

    toggleDifference() {
      this.difference = !this.difference;
      this.compare.setAttribute("aria-pressed", this.difference);
      if (this.difference) this.showDifference();
      else this.showStart();
    }

    settle() { // tell what changed, once it has come to rest
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.tell(), SETTLE);
    }

    tell() {
      const now = this.now.map((chances) => this.allSaid(chances)), { told } = this;
      const kinds = ["by its latents", "in the picture"];
      const changed = this.model.labels.flatMap((name, label) => {
        const ways = kinds.flatMap((kind, n) =>
          (now[n][label] === told[n][label] ? [] : [`${kind} from ${told[n][label]} to ${now[n][label]}`]));
        return ways.length ? [`${name} ${ways.join(", ")}`] : [];
      });
      const change = this.nowPixels.reduce((sum, value, i) => sum + Math.abs(value - this.startPixels[i]), 0);
      const levels = (change / this.nowPixels.length).toFixed(1);
      this.told = now;
      this.status.textContent = `${changed.join("; ") || "No probability changed"}. ` +
        `The picture is ${levels} grey levels from the start, mean over pixels.`;
      const read = this.model.labels.map((name, label) => `${name} ${now[1][label]}`).join(", ");
      this.views.now.canvas.setAttribute("aria-label", `The picture that the sliders make. It reads: ${read}`);
    }
  }

  // Two coordinates of a label's block at once, over the label's probability; ellipses: one standard deviation of the
  // conditional prior without the label (dashed) and with it.
  class Pad {
    constructor(explorer, label, handles) {
      Object.assign(this, { explorer, label, handles: handles.slice(0, 2), all: handles });
      const id = newId(), steps = Array.from({ length: 13 }, (_, i) => i - 6), side = PAD + 2 * MARGIN;
      this.gradient = svg("linearGradient", { id, gradientUnits: "userSpaceOnUse" },
        ...steps.map((u) => svg("stop", { offset: (u + 6) / 12, "stop-opacity": 0.75 * sigmoid(u) })));
      this.shade = svg("rect", { x: -MARGIN, y: -MARGIN, width: side, height: side, fill: `url(#${id})` });
      this.ellipses = [0, 1].map((value) => svg("circle", { r: 1, class: `explorer-prior explorer-prior-${value}` }));
      this.from = svg("path", { d: "M-4 0H4M0 -4V4", class: "explorer-from" });
      this.here = svg("circle", { r: 5, class: "explorer-here" });
      const name = explorer.model.labels[label], [x, y] = handles;
      this.node = svg("svg", { viewBox: [-MARGIN, -MARGIN, side, side].join(" "), class: "explorer-pad",
        tabindex: 0, role: "slider", "aria-roledescription": "two-dimensional slider",
        "aria-label": `${name}: ${x.name} to the right, ${y.name} up`,
        "aria-valuemin": 0, "aria-valuemax": TICKS, "aria-valuenow": 0,
        onkeydown: (event) => this.key(event), onpointermove: (event) => { if (event.buttons) this.drag(event); },
        onpointerdown: (event) => { this.node.setPointerCapture(event.pointerId); this.drag(event); },
        onpointerup: () => explorer.settle() },
      svg("defs", {}, this.gradient), this.shade, ...this.ellipses, this.from, this.here);
    }

    place(z) { // latents -> to the right and up, from 0 to 1
      return this.handles.map((handle) => handle.shareOf(handle.get(z)));
    }

    // What depends on the sliders' ends and on the start.
    redraw() {
      const { model, start } = this.explorer, { weight: w, bias } = model.blocks[this.label].logit;
      const [one, two] = this.handles, { origin, axes, read } = one.way;
      const low = one.ends[0], high = two.ends[1]; // of the pad's upper left corner
      const right = PAD / (one.ends[1] - low), up = PAD / (high - two.ends[0]); // units for a coordinate's 1
      const slopes = axes[0].map((_, j) => dot(w, axes.map((row) => row[j]))); // of the logit, along each coordinate
      const rest = this.all.slice(2).reduce((sum, handle, n) => sum + slopes[n + 2] * handle.get(start.z), 0);
      const offset = bias + dot(w, origin) + slopes[0] * low + slopes[1] * high + rest;
      const a = [slopes[0] / right, -slopes[1] / up], square = Math.max(a[0] ** 2 + a[1] ** 2, 1e-12);
      [-6, 6].forEach((u, end) => { // where the logit is u, going along its slope
        a.forEach((slope, axis) => {
          this.gradient.setAttribute(`${"xy"[axis]}${end + 1}`, slope * (u - offset) / square);
        });
      });
      this.ellipses.forEach((circle, value) => {
        const { factor } = model.prior[value][this.label]; // columns, turned into the pad's coordinates
        const turned = [0, 1].map((j) => factor[0].map((_, n) => dot(read[j], factor.map((row) => row[n]))));
        circle.setAttribute("transform", `matrix(${[...ellipse(turned, right, up),
          right * (one.marks[value] - low), up * (high - two.marks[value])].join(" ")})`);
      });
      const [x, y] = this.place(start.z);
      this.from.setAttribute("transform", `translate(${PAD * x} ${PAD * (1 - y)})`);
    }

    point() {
      const [x, y] = this.place(this.explorer.z);
      this.here.setAttribute("cx", PAD * x);
      this.here.setAttribute("cy", PAD * (1 - y));
      this.node.setAttribute("aria-valuenow", Math.round(TICKS * x));
      const held = this.handles.map((handle) => number(handle.get(this.explorer.z)));
      this.node.setAttribute("aria-valuetext", held.join(" and "));
    }

    to(shares) {
      this.handles.forEach((handle, n) => {
        handle.set(this.explorer.z, handle.valueAt(Math.min(1, Math.max(0, shares[n]))));
      });
      this.explorer.schedule();
    }

    drag(event) {
      const box = this.node.getBoundingClientRect();
      const inPad = (pixels, side) => ((PAD + 2 * MARGIN) * pixels / side - MARGIN) / PAD;
      this.to([inPad(event.clientX - box.left, box.width), 1 - inPad(event.clientY - box.top, box.height)]);
    }

    key(event) {
      const step = (event.shiftKey ? 10 : 1) / 100, [x, y] = this.place(this.explorer.z);
      const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowDown: [0, -step], ArrowUp: [0, step],
        PageDown: [0, -0.1], PageUp: [0, 0.1], Home: [-1, 0], End: [1, 0] }, move = moves[event.key];
      if (!move || event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own
      event.preventDefault();
      this.to([x + move[0], y + move[1]]);
      this.explorer.settle();
    }
  }

  // What makes of a unit circle the ellipse F F' of two coordinates, F (2, n): its Cholesky factor, as SVG takes it.
  function ellipse([f, g], right, up) {
    const across = Math.sqrt(dot(f, f)), slant = dot(f, g) / across;
    return [right * across, -up * slant, 0, -up * Math.sqrt(Math.max(dot(g, g) - slant ** 2, 0))];
  }

  // --- the page: each explorer is made when it comes near, so that the page opens fast ---------------------------

  window.explorers = {}; // by task; `open()` makes it and returns it
  for (const section of document.querySelectorAll("section.explorer")) {
    const source = section.querySelector("script"), task = section.dataset.task;
    let made = null;
    const open = () => {
      section.classList.remove("explorer-waiting");
      return made ??= new Explorer(section, JSON.parse(source.textContent));
    };
    const opener = button("Open the explorer", () => { open().startSelect.focus(); });
    section.querySelector(".explorer-closed").replaceChildren(opener);
    section.classList.add("explorer-waiting");
    window.explorers[task] = { open };
    new IntersectionObserver((entries, observer) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      const focused = document.activeElement === opener;
      open();
      if (focused) made.startSelect.focus();
    }, { rootMargin: "400px" }).observe(section);
  }
})();
