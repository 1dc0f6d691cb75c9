// The explorer: every <section class="explorer"> carries one model as JSON (support/explorer.py); here it gets its sliders.
// Decoder and classifier run in this page. index.html.j2 includes this file through Jinja, so it holds none of Jinja's opening brackets.
(() => {
  "use strict";
  const SVG = "http://www.w3.org/2000/svg";
  const TICKS = 200; // of a slider, from end to end
  const PAD = 120, MARGIN = 8; // side of a pad in its own units, and the rim around it where a mark at its end is still whole
  const STYLES_SHOWN = 10;
  const SETTLE = 500; // ms without a change, after which the change is told
  let elements = 0; // for ids

  // --- numbers ------------------------------------------------------------------------------------------------

  const sigmoid = (u) => 1 / (1 + Math.exp(-u));
  const percent = (p) => `${Math.round(100 * p)} %`;
  const number = (value) => (Math.round(100 * value) / 100 || 0).toFixed(2).replace("-", "\u2212"); // no −0

  function normal() { // Box and Muller
    return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  }

  function halfFloats(base64) { // little-endian half floats; none is infinite
    const bytes = atob(base64), values = new Float32Array(bytes.length / 2);
    for (let i = 0; i < values.length; i++) {
      const high = bytes.charCodeAt(2 * i + 1), fraction = ((high & 3) << 8) | bytes.charCodeAt(2 * i), exponent = (high >> 2) & 31;
      const size = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25);
      values[i] = high & 128 ? -size : size;
    }
    return values;
  }

  // --- the decoder --------------------------------------------------------------------------------------------
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

  // Rows of a linear layer whose outputs are (channels, pixels), sorted to (pixels, channels).
  function channelsLast(values, channels, pixels, width) {
    const sorted = new Float32Array(values.length);
    for (let c = 0; c < channels; c++) {
      for (let p = 0; p < pixels; p++) {
        sorted.set(values.subarray((c * pixels + p) * width, (c * pixels + p + 1) * width), (p * channels + c) * width);
      }
    }
    return sorted;
  }

  // Kernel 4, stride 2, padding 1, weight (inputs, outputs, 4, 4). Gathered: each output pixel sums over the at most 2 x 2 input pixels
  // that reach it. Four output channels at a time stay in registers, so their weights lie side by side: [ky][kx][group][input][4].
  function transposedConvolution(weight, bias, [inputs, outputs], side, outputPadding, relu) {
    const groups = Math.ceil(outputs / 4), large = 2 * side + outputPadding, tap = groups * inputs * 4;
    const laid = new Float32Array(16 * tap), start = new Float32Array(4 * groups), out = new Float32Array(large * large * outputs);
    start.set(bias);
    for (let i = 0; i < inputs; i++) {
      for (let o = 0; o < outputs; o++) {
        for (let k = 0; k < 16; k++) laid[k * tap + ((o >> 2) * inputs + i) * 4 + (o & 3)] = weight[(i * outputs + o) * 16 + k];
      }
    }
    const pixels = new Int32Array(4), taps = new Int32Array(4);
    return (x) => {
      for (let row = 0, at = 0; row < large; row++) {
        for (let column = 0; column < large; column++, at += outputs) {
          let count = 0;
          for (let ky = (row + 1) & 1; ky < 4; ky += 2) {
            const y = (row + 1 - ky) / 2;
            if (y < 0 || y >= side) continue;
            for (let kx = (column + 1) & 1; kx < 4; kx += 2) {
              const c = (column + 1 - kx) / 2;
              if (c < 0 || c >= side) continue;
              pixels[count] = (y * side + c) * inputs;
              taps[count++] = (ky * 4 + kx) * tap;
            }
          }
          for (let g = 0; g < groups; g++) {
            let s0 = start[4 * g], s1 = start[4 * g + 1], s2 = start[4 * g + 2], s3 = start[4 * g + 3];
            for (let t = 0; t < count; t++) {
              let w = taps[t] + g * inputs * 4;
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
        }
      }
      return out;
    };
  }

  // latents -> the image's mean in [0, 1], (height * width * channels); a new array each time.
  function buildDecoder(model) {
    const convolutions = model.layers.filter((layer) => layer.shape.length === 4), channels = convolutions[0].shape[0];
    let side = Math.sqrt(model.layers[1].shape[0] / channels);
    const layers = model.layers.map((layer, n) => {
      let weight = halfFloats(layer.weight), bias = halfFloats(layer.bias);
      const relu = n < model.layers.length - 1;
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

  function paint(canvas, pixels, channels) { // pixels from 0 to 255; the canvas stays in main memory
    const context = canvas.getContext("2d", { willReadFrequently: true }), image = context.createImageData(canvas.width, canvas.height);
    for (let p = 0; p < canvas.width * canvas.height; p++) {
      for (let c = 0; c < 3; c++) image.data[4 * p + c] = pixels[p * channels + (channels === 3 ? c : 0)];
      image.data[4 * p + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  // --- one explorer -------------------------------------------------------------------------------------------

  class Explorer {
    constructor(section, model) {
      this.model = model;
      this.section = section;
      this.decoder = buildDecoder(model);
      this.starts = model.starts.map((start) => ({ name: start.name, z: Float64Array.from(start.z) }));
      this.blocks = [];
      model.characteristics.reduce((first, k) => this.blocks.push(Array.from({ length: k }, (_, j) => first + j)) && first + k, 0);
      this.ranges = new Map(model.ranges.map((range, latent) => [latent, range]));
      for (const [latent] of model.style) this.ranges.set(latent, model.style_range);
      this.sliders = new Map();
      this.ends = new Map(); // of the sliders as they stand: wider than `ranges` where a start lies outside
      this.views = {};
      this.stepMs = 0;
      this.build();
      this.begin(0);
      this.draw();
      this.status.textContent = ""; // to come near is nothing to be told of
    }

    decode(z) { return this.decoder(z); }

    chances(z = this.z) {
      const { weight, bias } = this.model.classifier;
      return this.blocks.map((block, label) => sigmoid(block.reduce((u, latent) => u + weight[latent] * z[latent], bias[label])));
    }

    // Parts of the page, made once.
    build() {
      this.status = el("p", { class: "explorer-status", role: "status" });
      this.labels = this.model.labels.map((name, label) => this.labelCard(name, label));
      const cards = el("div", { class: "explorer-labels", role: "group", "aria-label": "Labels" }, ...this.labels.map((card) => card.node));
      const side = el("div", { class: "explorer-side" }, this.controls(), this.status, cards, this.styleSliders());
      this.section.querySelector(".explorer-closed").replaceWith(el("div", { class: "explorer-body" }, this.pictures(), side));
    }

    picture(name, text) {
      const [, height, width] = this.model.image_shape;
      const canvas = el("canvas", { width, height, role: "img", "aria-label": text });
      const caption = el("figcaption", {}, name);
      this.views[name] = { canvas, caption };
      return el("figure", { class: `explorer-${name}` }, canvas, caption);
    }

    pictures() {
      const now = this.picture("now", "The picture that the sliders make");
      const start = this.picture("start", "The picture of the start");
      return el("div", { class: "explorer-pictures" }, now, start, this.picture("other", "The picture of the other image"));
    }

    controls() {
      const choose = (text, onchange) => {
        const id = newId(), select = el("select", { id, onchange });
        return [select, el("div", { class: "explorer-field" }, el("label", { for: id }, text), select)];
      };
      let startField, otherField;
      [this.startSelect, startField] = choose("Start from", () => this.begin(this.startSelect.selectedIndex));
      [this.otherSelect, otherField] = choose("Swap with", () => this.showOther());
      this.starts.forEach((start) => this.offer(start));
      this.otherSelect.selectedIndex = Math.min(1, this.starts.length - 1);
      this.compare = el("button", { type: "button", "aria-pressed": "false", onclick: () => this.toggleDifference() }, "Difference");
      const buttons = [
        el("button", { type: "button", onclick: () => { this.move(this.start.z); this.settle(); } }, "Reset all"), this.compare,
        el("button", { type: "button", onclick: () => this.copy() }, "Copy vector"),
      ];
      const id = newId();
      this.vector = el("textarea", { id, readonly: true, rows: 3 });
      this.vectorField = el("div", { class: "explorer-field", hidden: true }, el("label", { for: id }, "The vector, to copy"), this.vector);
      return el("div", { class: "explorer-controls" }, startField, otherField, this.sampleControls(),
        el("div", { class: "explorer-buttons" }, ...buttons), this.vectorField);
    }

    // Labels for a sample: one of them where they exclude each other, else any.
    sampleControls() {
      const { labels, exclusive } = this.model, id = newId();
      const button = el("button", { type: "button", onclick: () => this.sample() }, "New sample");
      if (exclusive) {
        const select = el("select", { id }, ...labels.map((name) => el("option", {}, name)));
        this.wanted = () => labels.map((_, label) => Number(label === select.selectedIndex));
        return el("div", { class: "explorer-field" }, el("label", { for: id }, "Sample with"), el("div", { class: "explorer-pair" }, select, button));
      }
      const boxes = labels.map((name) => el("input", { type: "checkbox", "aria-label": name }));
      this.wanted = () => boxes.map((box) => Number(box.checked));
      const list = boxes.map((box, label) => el("label", {}, box, ` ${labels[label]}`));
      return el("div", { class: "explorer-field" }, button,
        el("details", {}, el("summary", {}, "Labels of the sample"), el("div", { class: "explorer-checks" }, ...list)));
    }

    offer(start) {
      for (const select of [this.startSelect, this.otherSelect]) select.append(el("option", {}, start.name));
    }

    labelCard(name, label) {
      const block = this.blocks[label];
      const meter = el("meter", { min: 0, max: 1, "aria-label": `Probability of ${name}` });
      const text = el("span", { class: "explorer-chance" }), was = el("span", { class: "explorer-was" });
      const take = (from) => { const z = this.z.slice(); for (const latent of block) z[latent] = from.z[latent]; this.move(z); this.settle(); };
      const pad = block.length === 2 ? new Pad(this, label) : null;
      const node = el("fieldset", { class: "explorer-label" }, el("legend", {}, name),
        el("div", { class: "explorer-meter" }, meter, text, was),
        ...(pad ? [pad.node] : []),
        ...block.map((latent, j) => this.slider(latent, block.length === 1 ? "characteristic" : `characteristic ${j + 1}`, this.means(latent))),
        el("div", { class: "explorer-buttons" },
          el("button", { type: "button", onclick: () => take(this.start), "aria-label": `Reset ${name}` }, "Reset"),
          el("button", { type: "button", onclick: () => take(this.source), "aria-label": `Swap ${name} with the other image` }, "Swap")));
      return { node, pad, show: (chance, before) => {
        meter.value = chance;
        text.textContent = percent(chance);
        was.textContent = `start ${percent(before)}`;
      } };
    }

    means(latent) { return this.model.prior.map((prior) => prior.mean[latent]); }

    // A slider of one latent; marks: where the conditional prior has its mean without and with the label.
    slider(latent, name, marks = [], note = "") {
      const id = newId(), value = el("span", { class: "explorer-value", "aria-hidden": "true" });
      const input = el("input", { id, type: "range", min: 0, max: TICKS, step: 1, "data-latent": latent,
        oninput: () => { this.z[latent] = this.valueAt(latent, input.valueAsNumber / TICKS); this.schedule(); },
        onchange: () => this.settle() });
      const ticks = marks.map((_, label) => el("span", { class: `explorer-mark explorer-mark-${label}` }));
      const track = el("div", { class: "explorer-track" }, input, el("div", { class: "explorer-marks", "aria-hidden": "true" }, ...ticks));
      this.sliders.set(latent, { input, value, ticks, marks });
      const about = note ? [" ", el("small", {}, note)] : [];
      return el("div", { class: "explorer-slider" }, el("label", { for: id }, name, ...about), value, track);
    }

    styleSliders() {
      const first = this.blocks.flat().length;
      const rows = this.model.style.map(([latent, change]) => this.slider(latent, `style ${latent - first + 1}`, [], `${change.toFixed(1)} grey levels`));
      const grid = (some) => el("div", { class: "explorer-styles" }, ...some);
      const rest = rows.slice(STYLES_SHOWN);
      const more = rest.length ? [el("details", {}, el("summary", {}, `${rest.length} more`), grid(rest))] : [];
      return el("details", { class: "explorer-style", hidden: !rows.length }, el("summary", {}, `Style, ${rows.length} latents, those that change most first`),
        grid(rows.slice(0, STYLES_SHOWN)), ...more);
    }

    // --- what happens

    valueAt(latent, share) { const [low, high] = this.ends.get(latent); return low + (high - low) * share; }
    shareOf(latent, value) { const [low, high] = this.ends.get(latent); return (value - low) / (high - low); }

    begin(position) {
      this.start = this.starts[position];
      this.startSelect.selectedIndex = position;
      this.startPixels = this.pixels(this.start.z);
      this.before = this.chances(this.start.z);
      this.told = this.before.map(percent);
      clearTimeout(this.timer);
      this.status.textContent = `Starts from ${this.start.name}.`;
      if (!this.difference) this.showStart();
      this.showOther();
      this.move(this.start.z);
    }

    // All latents at once; the sliders' ends reach as far as they must.
    move(z) {
      this.z = Float64Array.from(z);
      for (const [latent, [low, high]] of this.ranges) {
        const held = [this.z[latent], this.start.z[latent]], ends = [Math.min(low, ...held), Math.max(high, ...held)];
        this.ends.set(latent, ends[0] < ends[1] ? ends : [ends[0] - 1, ends[1] + 1]);
        const { ticks, marks } = this.sliders.get(latent);
        ticks.forEach((tick, n) => tick.style.setProperty("--share", this.shareOf(latent, marks[n])));
      }
      for (const { pad } of this.labels) if (pad) pad.redraw();
      this.schedule();
    }

    // A draw of p(z_c|y) for the labels that are wanted, and of N(0, 1) for style.
    drawSample() {
      const z = new Float64Array(this.start.z.length).map(normal), { prior, labels } = this.model, wanted = this.wanted();
      this.blocks.forEach((block, label) => {
        const { mean, factor } = prior[wanted[label]], noise = block.map((latent) => z[latent]);
        block.forEach((latent, j) => { z[latent] = factor[label][j].reduce((sum, f, i) => sum + f * noise[i], mean[latent]); });
      });
      return { name: labels.filter((_, label) => wanted[label]).join(", ") || "none", z };
    }

    sample() {
      const { name, z } = this.drawSample();
      this.starts.push({ name: `sample ${this.starts.length - this.model.starts.length + 1}: ${name}`, z });
      this.offer(this.starts.at(-1));
      this.begin(this.starts.length - 1);
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
      paint(this.views.now.canvas, this.nowPixels, this.model.image_shape[0]);
      if (this.difference) this.showDifference();
      this.chances().forEach((chance, label) => this.labels[label].show(chance, this.before[label]));
      for (const [latent, { input, value }] of this.sliders) {
        const text = number(this.z[latent]);
        input.value = Math.round(TICKS * this.shareOf(latent, this.z[latent]));
        if (value.textContent === text) continue;
        value.textContent = text;
        input.setAttribute("aria-valuetext", text);
      }
      for (const { pad } of this.labels) if (pad) pad.point();
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
      const [channels] = this.model.image_shape, change = new Float32Array(this.nowPixels.length / channels);
      this.nowPixels.forEach((value, i) => { change[Math.floor(i / channels)] += Math.abs(value - this.startPixels[i]) / channels; });
      const largest = change.reduce((a, b) => Math.max(a, b), 0);
      paint(this.views.start.canvas, largest ? change.map((value) => 255 * value / largest) : change, 1);
      this.views.start.caption.textContent = `difference, white: ${Math.round(largest)}`;
      this.views.start.canvas.setAttribute("aria-label", `Difference from the start, at most ${Math.round(largest)} grey levels`);
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
      const now = this.chances().map(percent), { told } = this;
      const changed = this.model.labels.flatMap((name, label) => now[label] === told[label] ? [] : [`${name} from ${told[label]} to ${now[label]}`]);
      const levels = this.nowPixels.reduce((sum, value, i) => sum + Math.abs(value - this.startPixels[i]), 0) / this.nowPixels.length;
      this.told = now;
      this.status.textContent = `${changed.join("; ") || "No probability changed"}. The picture is ${levels.toFixed(1)} grey levels from the start, mean over pixels.`;
      this.views.now.canvas.setAttribute("aria-label", `The picture that the sliders make: ${this.model.labels.map((name, label) => `${name} ${now[label]}`).join(", ")}`);
    }
  }

  // Both characteristics of a label at once, over the label's probability; ellipses: one standard deviation of the conditional prior
  // without the label (dashed) and with it.
  class Pad {
    constructor(explorer, label) {
      this.explorer = explorer;
      this.label = label;
      this.latents = explorer.blocks[label];
      const id = newId(), steps = Array.from({ length: 13 }, (_, i) => i - 6);
      this.gradient = svg("linearGradient", { id, gradientUnits: "userSpaceOnUse" },
        ...steps.map((u) => svg("stop", { offset: (u + 6) / 12, "stop-opacity": 0.75 * sigmoid(u) })));
      this.shade = svg("rect", { x: -MARGIN, y: -MARGIN, width: PAD + 2 * MARGIN, height: PAD + 2 * MARGIN, fill: `url(#${id})` });
      this.ellipses = [0, 1].map((value) => svg("circle", { r: 1, class: `explorer-prior explorer-prior-${value}` }));
      this.from = svg("path", { d: "M-4 0H4M0 -4V4", class: "explorer-from" });
      this.here = svg("circle", { r: 5, class: "explorer-here" });
      const name = explorer.model.labels[label];
      this.node = svg("svg", { viewBox: [-MARGIN, -MARGIN, PAD + 2 * MARGIN, PAD + 2 * MARGIN].join(" "), class: "explorer-pad", tabindex: 0, role: "slider",
        "aria-roledescription": "two-dimensional slider", "aria-label": `${name}, characteristic 1 across and 2 up`,
        "aria-valuemin": 0, "aria-valuemax": TICKS, "aria-valuenow": 0,
        onkeydown: (event) => this.key(event), onpointermove: (event) => { if (event.buttons) this.drag(event); },
        onpointerdown: (event) => { this.node.setPointerCapture(event.pointerId); this.drag(event); }, onpointerup: () => explorer.settle() },
      svg("defs", {}, this.gradient), this.shade, ...this.ellipses, this.from, this.here);
    }

    place(z) { // latents -> across and up, from 0 to 1
      return this.latents.map((latent) => this.explorer.shareOf(latent, z[latent]));
    }

    // What depends on the sliders' ends and on the start.
    redraw() {
      const { model, ends, start } = this.explorer, [one, two] = this.latents;
      const [low, high] = [ends.get(one)[0], ends.get(two)[1]];
      const across = PAD / (ends.get(one)[1] - low), up = PAD / (high - ends.get(two)[0]); // units a latent's 1
      const { weight, bias } = model.classifier, a = [weight[one] / across, -weight[two] / up];
      const offset = bias[this.label] + weight[one] * low + weight[two] * high, square = Math.max(a[0] ** 2 + a[1] ** 2, 1e-12);
      [-6, 6].forEach((u, end) => { // where the logit is u, going along its slope
        a.forEach((slope, axis) => this.gradient.setAttribute(`${"xy"[axis]}${end + 1}`, slope * (u - offset) / square));
      });
      this.ellipses.forEach((circle, value) => {
        const { mean, factor } = model.prior[value], f = factor[this.label];
        const at = [across * (mean[one] - low), up * (high - mean[two])];
        circle.setAttribute("transform", `matrix(${[across * f[0][0], -up * f[1][0], across * f[0][1], -up * f[1][1], ...at].join(" ")})`);
      });
      const [x, y] = this.place(start.z);
      this.from.setAttribute("transform", `translate(${PAD * x} ${PAD * (1 - y)})`);
    }

    point() {
      const [x, y] = this.place(this.explorer.z);
      this.here.setAttribute("cx", PAD * x);
      this.here.setAttribute("cy", PAD * (1 - y));
      this.node.setAttribute("aria-valuenow", Math.round(TICKS * x));
      this.node.setAttribute("aria-valuetext", this.latents.map((latent) => number(this.explorer.z[latent])).join(" and "));
    }

    to(shares) {
      this.latents.forEach((latent, axis) => {
        this.explorer.z[latent] = this.explorer.valueAt(latent, Math.min(1, Math.max(0, shares[axis])));
      });
      this.explorer.schedule();
    }

    drag(event) {
      const box = this.node.getBoundingClientRect(), inPad = (pixels, side) => ((PAD + 2 * MARGIN) * pixels / side - MARGIN) / PAD;
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

  // --- the page: each explorer is made when it comes near, so that the page opens fast ---------------------------

  window.explorers = {}; // by task; `open()` makes it and returns it
  for (const section of document.querySelectorAll("section.explorer")) {
    const source = section.querySelector("script"), task = section.dataset.task;
    let made = null;
    const open = () => {
      section.classList.remove("explorer-waiting");
      return made ??= new Explorer(section, JSON.parse(source.textContent));
    };
    const button = el("button", { type: "button", onclick: () => { open().startSelect.focus(); } }, "Open the explorer");
    section.querySelector(".explorer-closed").replaceChildren(button);
    section.classList.add("explorer-waiting");
    window.explorers[task] = { open };
    new IntersectionObserver((entries, observer) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      const focused = document.activeElement === button;
      open();
      if (focused) made.startSelect.focus();
    }, { rootMargin: "400px" }).observe(section);
  }
})();
