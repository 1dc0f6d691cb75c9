// What a page does beyond being read: code folded, contents that follow, tables as CSV, figures large. Without scripts all of it is still there to read.
(() => {
  "use strict";

  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };

  // --- code, folded away ---
  document.body.classList.add("folded");
  const codeButton = document.getElementById("code-button");
  codeButton.addEventListener("click", () => {
    const folded = document.body.classList.toggle("folded");
    document.querySelectorAll("details.code").forEach((details) => { details.open = !folded; });
    codeButton.setAttribute("aria-expanded", String(!folded));
    codeButton.textContent = folded ? "Show code" : "Hide code";
  });

  // --- contents: open beside the text, closed above it; the section that is being read is marked ---
  const contents = document.getElementById("contents");
  const beside = window.matchMedia("(min-width: 84rem)");
  const place = () => { contents.open = beside.matches; };
  beside.addEventListener("change", place);
  place();
  const links = [...contents.querySelectorAll("a")];
  const sections = links.map((link) => document.getElementById(decodeURIComponent(link.hash.slice(1)))).filter(Boolean);
  const follow = () => {
    const above = sections.filter((heading) => heading.getBoundingClientRect().top < window.innerHeight / 3);
    const read = above.length ? above[above.length - 1] : sections[0];
    links.forEach((link) => {
      if (read && decodeURIComponent(link.hash.slice(1)) === read.id) {
        if (!link.hasAttribute("aria-current")) {
          link.setAttribute("aria-current", "true");
          if (beside.matches) link.scrollIntoView({ block: "nearest" });
        }
      } else {
        link.removeAttribute("aria-current");
      }
    });
  };
  let asked = false;
  window.addEventListener("scroll", () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; follow(); });
  }, { passive: true });
  follow();

  // --- tables as CSV; a table that is wider than the page can be scrolled by keyboard ---
  const copied = make("p", { className: "unseen" });
  copied.setAttribute("role", "status");
  document.body.append(copied);
  const shownText = (cell) => {
    const copy = cell.cloneNode(true);
    copy.querySelectorAll("sup").forEach((mark) => mark.remove());
    return copy.textContent.trim().replaceAll("\u00a0", " ");
  };
  const asCsv = (table) => [...table.rows].map((row) => [...row.cells].flatMap((cell) => {
    const text = shownText(cell);
    const quoted = /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    return [quoted, ...Array(cell.colSpan - 1).fill("")];
  }).join(",")).join("\n") + "\n";
  const copy = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = make("textarea", { value: text, readOnly: true });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };
  document.querySelectorAll("main table").forEach((table) => {
    const name = table.caption ? shownText(table.caption) : "table";
    const button = make("button", { type: "button", className: "copy", textContent: "Copy as CSV" });
    button.setAttribute("aria-label", `Copy as CSV: ${name}`);
    button.addEventListener("click", async () => {
      await copy(asCsv(table));
      button.textContent = "Copied";
      copied.textContent = `Copied: ${name}`;
      setTimeout(() => { button.textContent = "Copy as CSV"; }, 2000);
    });
    const frame = make("div", { className: "frame", tabIndex: 0 });
    frame.setAttribute("role", "region");
    frame.setAttribute("aria-label", name);
    table.replaceWith(frame);
    frame.append(table);
    frame.after(button);
  });

  // --- figures, large ---
  const dialog = make("dialog", { className: "large" });
  dialog.setAttribute("aria-label", "Figure, large");
  const close = make("button", { type: "button", textContent: "Close" });
  const picture = make("img", { alt: "" });
  dialog.append(close, make("div", { className: "scroll", tabIndex: 0 }, picture));
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  document.body.append(dialog);
  document.querySelectorAll("main .output_png img, main .scheme img").forEach((image) => {
    const open = make("button", { type: "button", className: "open" });
    open.setAttribute("aria-label", `Open large: ${image.alt}`);
    image.replaceWith(open);
    open.append(image);
    open.addEventListener("click", () => {
      picture.src = image.src;
      picture.alt = image.alt;
      dialog.showModal();
    });
  });

  // --- a margin, or a bound, that moves: the words are those of verdicts.decide ---
  const decide = (moves, low, high, factor) => {
    if (moves === "bound") return low >= factor ? "reproduced" : high < factor ? "reversed" : "inconclusive";
    if (-factor < low && high < factor) return "no difference that matters";
    return low > 0 ? "reproduced" : high < 0 ? "reversed" : "inconclusive";
  };
  document.querySelectorAll("figure[data-moves]").forEach((figure) => {
    const { moves } = figure.dataset;
    const [low, high] = [Number(figure.dataset.low), Number(figure.dataset.high)];
    const words = JSON.parse(figure.dataset.words);
    const at = (value) => 100 * Math.min(Math.max((value - low) / (high - low), 0), 1);
    const slider = make("input", { type: "range", min: "0.1", max: moves === "bound" ? "1.2" : "3", step: "0.05", value: "1" });
    const output = make("output");
    figure.querySelector("figcaption").after(make("label", { className: "moves" }, `${moves} ×`, slider, output));
    const show = () => {
      const factor = Number(slider.value);
      output.textContent = factor === 1 ? "1, as tested" : factor.toFixed(2);
      figure.querySelectorAll(".strip-row").forEach((row) => {
        const text = row.querySelector(".strip-value");
        const word = words[decide(moves, Number(row.dataset.low), Number(row.dataset.high), factor)];
        text.textContent = word;
        text.className = `strip-value verdict ${word.slice(2).replaceAll(" ", "-")}`;
        const line = row.querySelector(".strip-line");
        const band = row.querySelector(".strip-band");
        if (moves === "bound") ["x1", "x2"].forEach((end) => line.setAttribute(end, `${at(factor)}%`));
        if (band) {
          band.setAttribute("x", `${at(-factor)}%`);
          band.setAttribute("width", `${at(factor) - at(-factor)}%`);
        }
      });
    };
    slider.addEventListener("input", show);
    show();
  });

  // --- where a link leads into what is folded, it opens ---
  const reveal = (hash) => {
    const target = document.getElementById(decodeURIComponent(hash.slice(1)));
    const fold = target?.closest("details:not(.code, #contents)");
    if (!fold || fold.open) return;
    fold.open = true;
    target.scrollIntoView();
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link) reveal(link.hash);
  });
  window.addEventListener("hashchange", () => reveal(location.hash));
  reveal(location.hash);

  // --- on paper, everything ---
  window.addEventListener("beforeprint", () => document.querySelectorAll("main details:not(.code)").forEach((details) => { details.open = true; }));
})();
