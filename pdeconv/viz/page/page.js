"use strict";
const content = JSON.parse(document.getElementById("content").textContent);
const SHARES = ["mixes", "carries", "blurs", "sharpens", "higher"];
const WORDS = { stable: "● stable", unproven: "◐ unproven", unstable: "○ unstable" };
const blocks = content.blocks;
const moments = blocks.flatMap((block, b) => block.times.map((_, t) => ({ b, t })));
const colors = Uint8Array.from(atob(content.colors), (c) => c.charCodeAt(0));
const view = { moment: 0, channel: 0, row: 0, column: 0, timer: 0 };
const element = (id) => document.getElementById(id);

function made(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function number(value) {
  if (value === null) return "–";
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(3)));
}

/* A sheet holds times from top to bottom and channels from left to right, one byte a value. */
async function unpacked(block) {
  const image = new Image();
  image.src = block.sheet;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, image.width, image.height).data;
  block.values = new Uint8Array(image.width * image.height);
  for (let i = 0; i < block.values.length; i++) block.values[i] = pixels[4 * i];
}

const byteAt = (block, t, c, row, column) =>
  block.values[(t * block.height + row) * block.channels.length * block.width + c * block.width + column];

const valueAt = (block, t, c, row, column) =>
  block.low[c] + ((block.high[c] - block.low[c]) * byteAt(block, t, c, row, column)) / 255;

function paint(canvas, block, t, c) {
  if (canvas.width !== block.width) canvas.width = block.width;
  if (canvas.height !== block.height) canvas.height = block.height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(block.width, block.height);
  for (let row = 0, i = 0; row < block.height; row++)
    for (let column = 0; column < block.width; column++, i += 4) {
      const color = 3 * byteAt(block, t, c, row, column);
      image.data.set([colors[color], colors[color + 1], colors[color + 2], 255], i);
    }
  context.putImageData(image, 0, 0);
}

function buildTiles(block, b) {
  const grid = element("grid");
  grid.dataset.block = b;
  grid.replaceChildren(
    ...block.channels.map((channel, c) => {
      const tile = made("div", { class: "tile", role: "option", id: `tile${c}`, "aria-label": `channel ${channel}` });
      tile.append(made("canvas", { "aria-hidden": "true" }), made("span", {}, String(channel)));
      tile.addEventListener("click", () => choose(c));
      return tile;
    }),
  );
  const shown = block.channels.length < block.allChannels ? `the ${block.channels.length} liveliest of ` : "";
  const small = block.width < block.fullWidth ? `, shown at ${block.height} × ${block.width}` : "";
  element("maps-note").textContent =
    `${shown}${block.allChannels} ${block.allChannels === 1 ? "channel" : "channels"} of ${block.fullHeight} × ${block.fullWidth} pixels${small}; ` +
    "each keeps one scale of colour throughout its block.";
}

function drawAnswer(block, t) {
  const answer = block.answers[t] || {};
  element("output").hidden = !answer.image;
  if (answer.image) element("output").src = answer.image;
  element("classes").replaceChildren(
    ...(answer.classes || []).map(([name, p]) => {
      const bar = made("i", { style: `width:${100 * p}%` });
      return made("div", { class: "class" }, made("span", {}, name), made("div", {}, bar), `${(100 * p).toFixed(1)} %`);
    }),
  );
  return answer.classes ? `${answer.classes[0][0]}, ${(100 * answer.classes[0][1]).toFixed(0)} %` : "";
}

function drawBlock(block) {
  element("equation").textContent = block.equation;
  const dt = block.dt === null ? "dt by the state" : `${block.steps} ${block.steps === 1 ? "step" : "steps"} of dt = ${number(block.dt)}`;
  element("scheme").textContent = `${block.scheme}, ${dt}`;
  const head = made("tr", {}, ...["coefficient", "lowest", "mean", "highest"].map((text) => made("th", { scope: "col" }, text)));
  const rows = block.fields.map((field) =>
    made("tr", {}, made("td", {}, field.name), ...[field.lowest, field.mean, field.highest].map((x) => made("td", {}, number(x)))),
  );
  element("fields").replaceChildren(...(rows.length ? [head, ...rows] : []));
  const share = block.dt !== null && block.limit !== null ? block.dt / block.limit : null;
  const gauge = [];
  if (share !== null) {
    gauge.push(made("div", { class: `gauge ${block.verdict}`, role: "img", "aria-label": `dt is ${number(share)} times its proven limit` },
      made("i", { style: `width:${Math.min(100, 50 * share)}%` }), made("b")));
    gauge.push(made("p", { class: "note" }, `dt is ${number(share)} × its proven limit, the dashed line`));
  }
  const courant = block.courant === null ? "" : ` dt·${block.proven ? "rate" : "L"} ≤ ${number(block.courant)}.`;
  element("stability").replaceChildren(
    made("p", { class: `verdict ${block.verdict}`, style: "margin:0" }, WORDS[block.verdict]),
    ...gauge,
    made("p", { style: "margin:2px 0" }, `${block.reason}.${courant}`),
    made("p", { class: "note" }, `In the worst direction found a small change of the state grows ${number(block.gain)} times; the state itself ${number(block.growth)} times.`),
    ...(block.remedy ? [made("p", { style: "margin:2px 0" }, `What to do: ${block.remedy}`)] : []),
  );
}

function drawHistory(block) {
  const times = block.times, c = view.channel;
  const values = times.map((_, t) => valueAt(block, t, c, view.row, view.column));
  const [low, high] = [block.low[c], block.high[c]];
  const x = (t) => 46 + (times.length > 1 ? (t / (times.length - 1)) * 240 : 120);
  const y = (v) => 96 - (high > low ? (v - low) / (high - low) : 0.5) * 82;
  const now = moments[view.moment].t;
  const ns = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(ns, "svg");
  svg.setAttribute("viewBox", "0 0 300 118");
  const put = (tag, attributes, text = "") => {
    const node = document.createElementNS(ns, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.textContent = text;
    svg.append(node);
  };
  put("line", { x1: 46, x2: 286, y1: 96, y2: 96 });
  put("line", { x1: x(now), x2: x(now), y1: 10, y2: 96 });
  put("text", { x: 42, y: 18, "text-anchor": "end" }, number(high));
  put("text", { x: 42, y: 98, "text-anchor": "end" }, number(low));
  put("text", { x: 46, y: 112 }, `t = ${number(times[0])}`);
  put("text", { x: 286, y: 112, "text-anchor": "end" }, `t = ${number(times[times.length - 1])}`);
  put("path", { d: values.map((v, t) => `${t ? "L" : "M"}${x(t).toFixed(1)},${y(v).toFixed(1)}`).join("") });
  values.forEach((v, t) => put("circle", { cx: x(t), cy: y(v), r: t === now ? 4.5 : 2.5 }));
  const said = `Pixel in row ${view.row}, column ${view.column}: ${values.map(number).join(", ")}`;
  element("history").replaceChildren(svg);
  element("history").setAttribute("aria-label", said);
}

function draw(changed) {
  const { b, t } = moments[view.moment];
  const block = blocks[b], grid = element("grid");
  const entered = grid.dataset.block !== String(b);
  if (entered) {
    view.channel = Math.min(view.channel, block.channels.length - 1);
    view.row = Math.min(view.row, block.height - 1);
    view.column = Math.min(view.column, block.width - 1);
    buildTiles(block, b);
    drawBlock(block);
    [...element("ticks").children].forEach((tick, place) => tick.classList.toggle("here", place === b));
  }
  [...grid.children].forEach((tile, c) => {
    paint(tile.firstChild, block, t, c);
    tile.setAttribute("aria-selected", String(c === view.channel));
  });
  grid.setAttribute("aria-activedescendant", `tile${view.channel}`);
  const channel = block.channels[view.channel];
  element("zoom-title").textContent = `Channel ${channel}`;
  paint(element("large"), block, t, view.channel);
  Object.assign(element("mark").style, {
    left: `${(100 * view.column) / block.width}%`, top: `${(100 * view.row) / block.height}%`,
    width: `${100 / block.width}%`, height: `${100 / block.height}%`,
  });
  element("large").setAttribute("aria-label", `Channel ${channel} at t = ${number(block.times[t])}; the marked pixel is ${number(valueAt(block, t, view.channel, view.row, view.column))}`);
  element("low").textContent = number(block.low[view.channel]);
  element("high").textContent = number(block.high[view.channel]);
  drawHistory(block);
  const answer = drawAnswer(block, t);
  const where = `${block.name}, t = ${number(block.times[t])}`;
  element("where").textContent = where;
  element("moment").value = view.moment;
  element("moment").setAttribute("aria-valuetext", where);
  if (changed) element("said").textContent = answer ? `${where}: ${answer}` : where;
}

function choose(c) {
  view.channel = c;
  draw(true);
}

function go(moment) {
  view.moment = Math.max(0, Math.min(moments.length - 1, moment));
  draw(view.timer === 0);
}

function play(on) {
  clearInterval(view.timer);
  view.timer = 0;
  if (on) {
    if (view.moment === moments.length - 1) go(0);
    view.timer = setInterval(() => (view.moment === moments.length - 1 ? play(false) : go(view.moment + 1)), 450);
  }
  element("play").textContent = on ? "Pause" : "Play";
  element("play").setAttribute("aria-pressed", String(on));
}

const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function listen() {
  element("moment").addEventListener("input", (event) => { play(false); go(Number(event.target.value)); });
  element("play").addEventListener("click", () => play(view.timer === 0));
  element("large").addEventListener("click", (event) => {
    const block = blocks[moments[view.moment].b], box = event.target.getBoundingClientRect();
    view.row = Math.min(block.height - 1, Math.floor(((event.clientY - box.top) / box.height) * block.height));
    view.column = Math.min(block.width - 1, Math.floor(((event.clientX - box.left) / box.width) * block.width));
    draw(false);
  });
  element("large").addEventListener("keydown", (event) => {
    const block = blocks[moments[view.moment].b], step = ARROWS[event.key];
    if (!step) return;
    event.preventDefault();
    view.row = Math.max(0, Math.min(block.height - 1, view.row + step[0]));
    view.column = Math.max(0, Math.min(block.width - 1, view.column + step[1]));
    draw(false);
  });
  element("grid").addEventListener("keydown", (event) => {
    const step = ARROWS[event.key], count = element("grid").children.length;
    if (!step) return;
    event.preventDefault();
    const across = getComputedStyle(element("grid")).gridTemplateColumns.split(" ").length;
    choose(Math.max(0, Math.min(count - 1, view.channel + step[1] + step[0] * across)));
    element(`tile${view.channel}`).scrollIntoView({ block: "nearest" });
  });
  document.addEventListener("keydown", (event) => {
    const typing = ["INPUT", "BUTTON"].includes(event.target.tagName);
    if (event.key === " " && !typing) { event.preventDefault(); play(view.timer === 0); }
  });
}

function drawLayers() {
  element("legend").replaceChildren(...SHARES.map((share) => made("span", {}, made("i", { style: `background:var(--${share})` }), share)));
  element("layers").replaceChildren(
    ...content.layers.map((layer) => {
      const said = SHARES.map((share) => `${share} ${Math.round(100 * layer[share])} %`).join(", ");
      const bars = SHARES.map((share) => made("i", { style: `width:${100 * layer[share]}%;background:var(--${share})` }));
      const name = layer.name || "(the model)";
      return made("div", { class: "layer" }, made("span", { title: name }, name),
        made("div", { class: "shares", role: "img", "aria-label": `${name}: ${said}`, title: said }, ...bars));
    }),
  );
  if (!content.layers.length) document.querySelector(".layers").hidden = true;
}

async function start() {
  await Promise.all(blocks.map(unpacked));
  element("summary").replaceChildren(`${content.model}, ${content.parameters.toLocaleString("en")} parameters, `,
    made("span", { class: `verdict ${content.verdict}` }, WORDS[content.verdict]));
  element("input").src = content.input;
  element("moment").max = moments.length - 1;
  element("ticks").replaceChildren(...blocks.map((block) => made("span", { style: `flex:${block.times.length}` }, block.name)));
  const scale = element("scale").getContext("2d"), ramp = scale.createImageData(256, 1);
  for (let i = 0; i < 256; i++) ramp.data.set([colors[3 * i], colors[3 * i + 1], colors[3 * i + 2], 255], 4 * i);
  scale.putImageData(ramp, 0, 0);
  const first = blocks[0];
  view.row = first.height >> 1;
  view.column = first.width >> 1;
  drawLayers();
  listen();
  draw(true);
  document.body.dataset.ready = "true";
}
start().catch((error) => {
  element("summary").textContent = `This page could not be drawn: ${error.message}`;
});
