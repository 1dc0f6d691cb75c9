// The instrument: the numbers of support/report/instrument.py's `values`, by the same quadrature, where its sliders stand.
(() => {
  "use strict";

  const LEFT = 34, RIGHT = 350, BASE = 122, TOP = 10, ENDS = 8; // of the figure, as in instrument.py
  const BY = ["mean", "spread"];

  const logSigmoid = (u) => -(Math.max(-u, 0) + Math.log1p(Math.exp(-Math.abs(u))));

  // u ~ N(mean, spread^2) under q(z|x); prior: the sd of p(u|y); label 0 or 1; nats: -log p(x|z)
  const values = ({ mean, spread, label, nats }, [nodes, weights], prior) => {
    const sign = label ? 1 : -1;
    const u = nodes.map((eps) => mean + spread * eps);
    const logQ = u.map((v) => logSigmoid(sign * v)); // log q(y|u)
    const qyx = weights.reduce((sum, weight, k) => sum + weight * Math.exp(logQ[k]), 0);
    const expect = (f) => weights.reduce((sum, weight, k) => sum + (weight * Math.exp(logQ[k]) / qyx) * f(k), 0); // E[w f]
    const kl = Math.log(prior / spread) + (spread ** 2 + mean ** 2) / (2 * prior ** 2) - 0.5;
    const weight = nats + kl + expect((k) => logQ[k]);
    const ratio = (k) => Math.log(spread / prior) + nodes[k] ** 2 / 2 - u[k] ** 2 / (2 * prior ** 2) - logQ[k]; // log p(u|y) / q(u|x) q(y|u)
    const now = { log_qyx: Math.log(qyx), weight };
    BY.forEach((name, i) => {
      const du = (k) => (i ? nodes[k] : 1);
      const dLogQ = (k) => sign * (1 - Math.exp(logQ[k])) * du(k);
      const dRatio = (k) => (i ? 1 / spread : 0) - (u[k] * du(k)) / prior ** 2 - dLogQ(k);
      const dLogQyx = expect(dLogQ);
      const dKl = i ? spread / prior ** 2 - 1 / spread : mean / prior ** 2;
      const hidden = -weight * dLogQyx;
      const unbiased = -expect((k) => (dLogQ(k) - dLogQyx) * ratio(k) + dRatio(k)) - dLogQyx;
      const official = dKl + hidden; // E[w grad log q(y|u)] is grad log q(y|x): it takes away that of -log q(y|x)
      Object.assign(now, { [`unbiased_${name}`]: unbiased, [`hidden_${name}`]: hidden });
      Object.assign(now, { [`rest_${name}`]: official - unbiased - hidden, [`official_${name}`]: official });
    });
    return now;
  };

  const shown = (value, digits = Math.abs(value) >= 100 ? 0 : 2) => {
    const text = value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
    return Number(text.replaceAll(",", "")) ? text.replace("-", "−") : text.replace("-", "");
  };

  const figure = ({ mean, spread, label }, qyx) => {
    const u = Array.from({ length: 61 }, (_, i) => mean + spread * (i / 10 - 3));
    const w = u.map((v) => Math.exp(logSigmoid(label ? v : -v)) / qyx);
    const density = u.map((v) => Math.exp(-(((v - mean) / spread) ** 2) / 2));
    const weighted = density.map((d, i) => d * w[i]);
    const largest = Math.max(...w), peak = Math.max(...density, ...weighted);
    const across = (v) => LEFT + ((v + ENDS) / (2 * ENDS)) * (RIGHT - LEFT);
    const up = (share) => BASE - share * (BASE - TOP);
    const path = (heights, unit) => "M" + heights.map((v, i) => `${across(u[i]).toFixed(1)},${up(v / unit).toFixed(1)}`).join(" L");
    const one = up(1 / largest);
    return { q: path(density, peak), wq: path(weighted, peak), w: path(w, largest), one: one.toFixed(1), top: one - TOP > 14 ? shown(largest) : "" };
  };

  const start = (part) => {
    const nodes = JSON.parse(part.dataset.nodes), prior = Number(part.dataset.prior);
    const controls = part.querySelector(".instrument-controls");
    const input = (name) => controls.querySelector(`[data-set="${name}"]`);
    const write = (name, text) => part.querySelectorAll(`[data-say="${name}"]`).forEach((place) => { place.textContent = text; });
    const draw = () => {
      const at = Object.fromEntries(["mean", "spread", "nats"].map((name) => [name, Number(input(name).value)]));
      at.label = input("label").checked ? 1 : 0;
      const now = values(at, nodes, prior), { one, top, ...paths } = figure(at, Math.exp(now.log_qyx));
      BY.forEach((name) => write(name, shown(at[name], 2)));
      write("nats", shown(at.nats, 0));
      write("label", String(at.label));
      write("top", top);
      Object.entries(now).forEach(([name, value]) => write(name, shown(value)));
      part.dataset.exact = JSON.stringify(now);
      Object.entries(paths).forEach(([name, d]) => part.querySelector(`.instrument-${name}`).setAttribute("d", d));
      part.querySelector(".instrument-one").setAttribute("transform", `translate(0 ${one})`);
    };
    part.dataset.live = "true";
    controls.hidden = false;
    controls.addEventListener("input", draw);
    draw();
  };

  document.querySelectorAll("section.instrument:not([data-live])").forEach(start);
})();
