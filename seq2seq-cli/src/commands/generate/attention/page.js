"use strict";

// Everything that is shown comes from `data` and enters the page as text, never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const MEAN = "mean";

// What is chosen; `step` and `column` name the cell that is looked at.
const view = { row: 0, sequence: 0, layer: MEAN, head: MEAN, stretch: false, step: 0, column: null };

const result = () => data.results[view.row];
const sequence = () => result().sequences[view.sequence];

function element(tag, options = {}, ...children) {
  const { style, ...rest } = options;
  const node = Object.assign(document.createElement(tag), rest);
  Object.assign(node.style, style);
  node.append(...children);
  return node;
}

// Spaces and line ends that a token consists of would not be seen.
function label(id) {
  const { text } = data.tokens[id];
  return (text.replace(/\n/g, "⏎").replace(/^ /, "·").replace(/ $/, "·")) || "∅";
}

function fixed(x, digits = 3) {
  return x === null ? "−∞" : x.toFixed(digits).replace("-", "−");
}

// [step][column] of the chosen layer and head, or of their mean.
function weights(of, layer = view.layer, head = view.head) {
  const { columns, steps, heads } = of;
  const layers = layer === MEAN ? of.weights : [of.weights[layer]];
  const chosen = head === MEAN ? [...Array(heads).keys()] : [head];
  const share = 1 / (data.scale * layers.length * chosen.length);
  return steps.map((_, step) => {
    const row = new Float32Array(columns.length);
    for (const values of layers) {
      for (const h of chosen) {
        const start = (step * heads + h) * columns.length;
        for (let c = 0; c < columns.length; c++) row[c] += values[start + c] * share;
      }
    }
    return row;
  });
}

// Colours: a ramp between four of the style sheet, in light and in dark.

function colour(name) {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

let ramp = [];
function loadRamp() {
  ramp = ["--ramp-0", "--ramp-1", "--ramp-2", "--ramp-3"].map(colour);
}

function rampAt(x) {
  // Small weights matter: the root spreads them.
  const place = Math.sqrt(Math.min(Math.max(x, 0), 1)) * (ramp.length - 1);
  const from = Math.min(Math.floor(place), ramp.length - 2);
  return ramp[from].map((v, i) => Math.round(v + (ramp[from + 1][i] - v) * (place - from)));
}

const css = (rgb) => `rgb(${rgb.join(" ")})`;
const readable = ([r, g, b]) => (0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#14161a" : "#ffffff");

// What a row's weights are divided by before they are coloured.
function unit(row) {
  return view.stretch ? Math.max(...row, 1e-9) : 1;
}

// The choosers.

function fillSelect(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text]) => element("option", { value, textContent: text })));
  select.value = chosen;
}

function fillChoosers() {
  const name = (shown) => {
    const { columns, given } = shown.sequences[0];
    const text = columns.slice(0, given).filter((id) => !data.tokens[id].special).map((id) => data.tokens[id].text).join("");
    return `${shown.row}: ${text.trim().slice(0, 60)}`;
  };
  fillSelect(at("row"), data.results.map((r, i) => [i, name(r)]), view.row);
  const outputs = result().sequences.map((s, i) => [i, `${i + 1}: ${(s.text ?? "").trim().slice(0, 60)} (${fixed(s.score)})`]);
  fillSelect(at("sequence"), outputs, view.sequence);
  const numbers = (count) => [[MEAN, "mean"], ...[...Array(count).keys()].map((i) => [i, String(i)])];
  fillSelect(at("layer"), numbers(sequence().weights.length), view.layer);
  fillSelect(at("head"), numbers(sequence().heads), view.head);
  at("row-label").hidden = data.results.length < 2;
}

// The two lines of text: the output, each token underlined by how sure it was, and what the chosen one attended to.

function chip(id, options) {
  const special = data.tokens[id].special ? " special" : "";
  return element("span", { ...options, className: `chip${special} ${options.className ?? ""}`, textContent: label(id) });
}

function drawTexts(map) {
  const { columns, steps } = sequence();
  const row = map[view.step] ?? [];
  const most = unit(row);
  at("columns-name").textContent = data.kind === "cross" ? "Source" : "Read";
  at("columns").replaceChildren(...columns.map((id, c) => {
    const back = rampAt(row[c] / most);
    const title = `${fixed(row[c])}  id ${id}`;
    return chip(id, { title, style: { background: css(back), color: readable(back) } });
  }));
  at("steps").replaceChildren(...steps.map((step, t) => {
    const sure = Math.exp(step.log_prob);
    const style = { borderBottomColor: `color-mix(in srgb, var(--good) ${Math.round(sure * 100)}%, var(--bad))` };
    const node = chip(step.id, { className: t === view.step ? "on" : "", style });
    node.title = `p = ${fixed(sure)}  log p = ${fixed(step.log_prob)}  id ${step.id}`;
    node.onmouseenter = () => look(t, null);
    return node;
  }));
  const step = steps[view.step];
  at("detail").replaceChildren(...(step ? runnersUp(step) : []));
}

function runnersUp(step) {
  const known = step.likeliest.some(([id]) => id === step.id);
  const all = known ? step.likeliest : [[step.id, step.log_prob], ...step.likeliest];
  return all.map(([id, logProb]) => element("div", { className: id === step.id ? "choice taken" : "choice" },
    element("span", { className: "token", textContent: label(id) }),
    element("div", { className: "bar" }, element("div", { style: { width: `${100 * Math.exp(logProb)}%` } })),
    element("span", { className: "number", textContent: `${fixed(Math.exp(logProb))}  (${fixed(logProb)})` })));
}

// The map.

const layout = { cell: 24, left: 0, top: 0 };

function drawMap(map) {
  const { columns, steps } = sequence();
  const canvas = at("map");
  const context = canvas.getContext("2d");
  const font = "12px ui-monospace, monospace";
  context.font = font;
  const longest = (ids) => Math.min(150, Math.max(20, ...ids.map((id) => context.measureText(label(id)).width)));
  layout.cell = Math.max(13, Math.min(30, Math.floor(760 / Math.max(columns.length, 1))));
  layout.left = longest(steps.map((s) => s.id)) + 14;
  layout.top = longest(columns) * 0.87 + 18;
  const slant = 0.5 * longest(columns) + 10;
  const [width, height] = [layout.left + columns.length * layout.cell + slant, layout.top + steps.length * layout.cell + 2];
  const dots = window.devicePixelRatio || 1;
  [canvas.width, canvas.height] = [width * dots, height * dots];
  Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
  context.scale(dots, dots);
  context.font = font;
  context.textBaseline = "middle";
  const style = getComputedStyle(document.documentElement);
  const [ink, dim, mark, edge] = ["--ink", "--dim", "--mark", "--edge"].map((n) => style.getPropertyValue(n).trim());
  const { cell, left, top } = layout;
  map.forEach((row, t) => {
    const most = unit(row);
    row.forEach((weight, c) => {
      context.fillStyle = css(rampAt(weight / most));
      context.fillRect(left + c * cell, top + t * cell, cell - 1, cell - 1);
    });
  });
  context.strokeStyle = edge;
  context.strokeRect(left - 0.5, top - 0.5, columns.length * cell, steps.length * cell);
  const paint = (id, on) => (on ? mark : data.tokens[id].special ? dim : ink);
  steps.forEach(({ id }, t) => {
    context.textAlign = "right";
    context.fillStyle = paint(id, t === view.step);
    context.fillText(label(id), left - 7, top + (t + 0.5) * cell, 150);
  });
  columns.forEach((id, c) => {
    context.save();
    context.translate(left + (c + 0.5) * cell, top - 9);
    context.rotate(-Math.PI / 3);
    context.textAlign = "left";
    context.fillStyle = paint(id, c === view.column);
    context.fillText(label(id), 0, 0, 150);
    context.restore();
  });
  context.strokeStyle = mark;
  context.lineWidth = 2;
  if (view.column === null) {
    context.strokeRect(left - 1, top + view.step * cell - 1, columns.length * cell + 1, cell + 1);
  } else {
    context.strokeRect(left + view.column * cell - 1, top + view.step * cell - 1, cell + 1, cell + 1);
  }
  drawValue(map);
}

function drawValue(map) {
  const { columns, steps } = sequence();
  const step = steps[view.step];
  if (!step) return;
  const said = view.column === null
    ? `When “${label(step.id)}” was chosen; point at a cell for its value.`
    : `“${label(step.id)}” to “${label(columns[view.column])}”: ${fixed(map[view.step][view.column], 4)}`;
  at("value").textContent = said;
}

function drawRamp() {
  const canvas = at("ramp");
  const context = canvas.getContext("2d");
  for (let x = 0; x < canvas.width; x++) {
    context.fillStyle = css(rampAt(x / canvas.width));
    context.fillRect(x, 0, 1, canvas.height);
  }
  at("ramp-end").textContent = view.stretch ? "largest of the row" : "1";
}

// A picture of each layer and head.

const MOST_PICTURES = 400;

function drawOverview() {
  const of = sequence();
  const [layers, heads] = [of.weights.length, of.heads];
  at("overview-card").hidden = layers * heads < 2 || layers * heads > MOST_PICTURES;
  if (at("overview-card").hidden) return;
  const overview = at("overview");
  overview.style.gridTemplateColumns = `repeat(${heads + 1}, max-content)`;
  const cells = [element("span"), ...[...Array(heads).keys()].map((h) => element("span", { textContent: `head ${h}` }))];
  for (let layer = 0; layer < layers; layer++) {
    cells.push(element("span", { textContent: `layer ${layer}` }));
    for (let head = 0; head < heads; head++) cells.push(picture(of, layer, head));
  }
  overview.replaceChildren(...cells);
}

function picture(of, layer, head) {
  const map = weights(of, layer, head);
  const canvas = element("canvas", { width: of.columns.length, height: of.steps.length, title: `layer ${layer}, head ${head}` });
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  map.forEach((row, t) => row.forEach((weight, c) => {
    image.data.set([...rampAt(weight / unit(row)), 255], 4 * (t * canvas.width + c));
  }));
  context.putImageData(image, 0, 0);
  canvas.className = view.layer === layer && view.head === head ? "on" : "";
  canvas.onclick = () => show({ layer, head });
  return canvas;
}

// The beams that lost, and from where on they differ from the output.

function drawLost() {
  const { lost } = result();
  const own = sequence().steps.map((s) => s.id);
  at("lost-card").hidden = lost.length === 0;
  at("lost").replaceChildren(...lost.map(({ step, score, reason, ids }) => {
    let same = 0;
    while (same < ids.length && ids[same] === own[same]) same++;
    const text = (part) => part.map((id) => data.tokens[id].text).join("");
    const cell = (...children) => element("td", {}, ...children);
    return element("tr", {}, cell(String(step)), cell(fixed(score)),
      cell(element("span", { className: "reason", textContent: reason })),
      element("td", { className: "text" },
        element("span", { className: "same", textContent: text(ids.slice(0, same)) }),
        element("span", { className: "other", textContent: text(ids.slice(same)) })));
  }));
}

// What happens.

function look(step, column) {
  if (step === view.step && column === view.column) return;
  Object.assign(view, { step, column });
  const map = weights(sequence());
  drawTexts(map);
  drawMap(map);
}

function show(change) {
  Object.assign(view, change);
  loadRamp();
  fillChoosers();
  const map = weights(sequence());
  drawTexts(map);
  drawMap(map);
  drawRamp();
  drawOverview();
  drawLost();
}

function cellAt(event) {
  const box = at("map").getBoundingClientRect();
  const column = Math.floor((event.clientX - box.left - layout.left) / layout.cell);
  const step = Math.floor((event.clientY - box.top - layout.top) / layout.cell);
  const { columns, steps } = sequence();
  const inside = step >= 0 && step < steps.length && column >= 0 && column < columns.length;
  return inside ? [step, column] : null;
}

function listen() {
  const number = (text) => (text === MEAN ? MEAN : Number(text));
  const fresh = { layer: MEAN, head: MEAN, step: 0, column: null };
  at("row").onchange = (e) => show({ ...fresh, row: Number(e.target.value), sequence: 0 });
  at("sequence").onchange = (e) => show({ sequence: Number(e.target.value), step: 0, column: null });
  at("layer").onchange = (e) => show({ layer: number(e.target.value) });
  at("head").onchange = (e) => show({ head: number(e.target.value) });
  at("stretch").onchange = (e) => show({ stretch: e.target.checked });
  at("map").onmousemove = (e) => {
    const cell = cellAt(e);
    if (cell) look(...cell);
  };
  at("map").onmouseleave = () => look(view.step, null);
  at("map").onkeydown = (e) => {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const move = moves[e.key];
    if (!move) return;
    e.preventDefault();
    const within = (x, count) => Math.min(Math.max(x, 0), count - 1);
    const { columns, steps } = sequence();
    look(within(view.step + move[0], steps.length), within((view.column ?? 0) + move[1], columns.length));
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show({}));
}

at("model").textContent = data.model;
if (data.results.length > 0) {
  listen();
  show({});
} else {
  document.querySelector("main").textContent = "There were no inputs.";
}
