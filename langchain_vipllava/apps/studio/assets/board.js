const NS = "http://www.w3.org/2000/svg";
const COLORS = { red: "#ff0000", lime: "#00ff00", blue: "#0000ff", yellow: "#ffff00", fuchsia: "#ff00ff", aqua: "#00ffff",
  orange: "#ffa500", purple: "#800080", gold: "#ffd700" };
let tool = "box", kind = "auto", color = "auto";
let points = [], drawing = false, cross = null, shown = null;

const $ = (selector) => element.querySelector(selector);
const state = () => { try { return JSON.parse(props.value || "{}"); } catch (error) { return {}; } };
const send = (message) => trigger("submit", message);

function node(name, attributes) {
  const made = document.createElementNS(NS, name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  return made;
}

function fill(select, choices, chosen) {
  const wanted = ["auto", ...choices];
  if (select.options.length !== wanted.length) select.replaceChildren(...wanted.map((text) => new Option(text, text)));
  select.value = chosen;
}

function place(event) {  // pixels of the upright image
  const { width, height } = state();
  const box = $("svg").getBoundingClientRect();
  const x = (event.clientX - box.left) * width / box.width, y = (event.clientY - box.top) * height / box.height;
  return clamp([x, y]);
}

function clamp([x, y]) {
  const { width, height } = state();
  return [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)].map((n) => Math.round(n * 10) / 10);
}

function unit() { return state().width / Math.max($("svg").getBoundingClientRect().width, 1); }

function draft() {
  const group = $(".draft");
  if (!group) return;
  group.replaceChildren();
  const stroke = COLORS[color] || "#ff0000", line = { fill: "none", stroke, "stroke-width": 2 * unit() };
  if (points.length && tool === "box") {
    const [a, b] = [points[0], points[points.length - 1]];
    group.append(node("rect", { ...line, x: Math.min(a[0], b[0]), y: Math.min(a[1], b[1]),
      width: Math.abs(a[0] - b[0]), height: Math.abs(a[1] - b[1]) }));
  } else if (points.length && tool === "stroke") {
    group.append(node("polyline", { ...line, points: points.join(" "), "stroke-width": state().brush, "stroke-opacity": 0.5,
      "stroke-linecap": "round", "stroke-linejoin": "round" }));
  } else if (points.length && tool === "polygon") {
    group.append(node("polyline", { ...line, points: points.join(" ") }));
    for (const [cx, cy] of points) group.append(node("circle", { cx, cy, r: 4 * unit(), fill: stroke }));
  }
  const close = $("[data-do=close]");
  if (close) close.hidden = !(tool === "polygon" && points.length > 2);
  const group2 = $(".cross");
  group2.replaceChildren();
  if (cross) {
    const size = 12 * unit(), [x, y] = cross, look = { stroke: "#ffffff", "stroke-width": 3 * unit() };
    const dark = { stroke: "#000000", "stroke-width": unit() };
    for (const style of [look, dark]) {
      group2.append(node("line", { ...style, x1: x - size, y1: y, x2: x + size, y2: y }));
      group2.append(node("line", { ...style, x1: x, y1: y - size, x2: x, y2: y + size }));
    }
  }
}

function finish() {
  const drawn = points, made = tool;
  points = []; drawing = false;
  draft();
  const far = drawn.length > 1 && Math.abs(drawn[0][0] - drawn[drawn.length - 1][0]) > 3 * unit()
    && Math.abs(drawn[0][1] - drawn[drawn.length - 1][1]) > 3 * unit();
  if (made === "box" && !far) return;
  if (made === "polygon" && drawn.length < 3) return;
  if (made === "segment") return send({ action: "segment", tool: "point", points: drawn.slice(0, 1) });
  const kept = made === "box" ? [drawn[0], drawn[drawn.length - 1]] : made === "point" ? drawn.slice(0, 1) : drawn;
  send({ action: "add", tool: made, points: kept, kind, color });
}

function outline(region) {  // where the image on the board has no markers: it is shown whole, and sent cropped or in pages
  const look = { fill: "none", stroke: COLORS[region.color] || "#ff0000", "stroke-width": 2 * unit(), "stroke-dasharray": 4 * unit() };
  const [x0, y0, x1, y1] = region.box;
  if (x0 === x1) return node("circle", { ...look, cx: x0, cy: y0, r: 6 * unit() });
  return node("rect", { ...look, x: x0, y: y0, width: x1 - x0, height: y1 - y0 });
}

function item(region, index, value) {
  const li = document.createElement("li"), swatch = document.createElement("span"), words = document.createElement("span");
  swatch.className = "swatch"; swatch.style.background = COLORS[region.color] || "transparent";
  words.className = "words"; words.textContent = `${region.id}${region.label ? ` (${region.label})` : ""}: ${region.phrase}`;
  li.append(swatch, words);
  for (const [name, choices, chosen] of [["kind", value.kinds, region.kind], ["color", value.colors, region.chosen || "auto"]]) {
    const select = document.createElement("select");
    select.setAttribute("aria-label", `${name} of ${region.id}`);
    select.dataset.index = index; select.dataset.field = name;
    const listed = name === "kind" ? choices : ["auto", ...choices];
    select.replaceChildren(...listed.map((text) => new Option(text, text)));
    select.value = chosen;
    li.append(select);
  }
  const remove = document.createElement("button");
  remove.type = "button"; remove.textContent = "Remove"; remove.dataset.remove = index;
  remove.setAttribute("aria-label", `Remove ${region.id}`);
  li.append(remove);
  return li;
}

function render() {
  const board = $(".board"), value = state();
  if (!board) return;
  const regions = value.regions || [];
  board.classList.toggle("open", !!value.image);
  fill($("[data-choice=kind]"), value.kinds || [], kind);
  fill($("[data-choice=color]"), value.colors || [], color);
  $("[data-tool=segment]").hidden = !value.segments;
  $("[data-do=detect]").hidden = !value.detects;
  for (const button of element.querySelectorAll("[data-tool]")) button.setAttribute("aria-pressed", button.dataset.tool === tool);
  if (value.image) {
    const svg = $("svg"), image = $("image");
    svg.setAttribute("viewBox", `0 0 ${value.width} ${value.height}`);
    svg.style.aspectRatio = `${value.width} / ${value.height}`;
    svg.style.width = `min(100%, ${Math.round(70 * value.width / value.height)}vh)`;
    image.setAttribute("width", value.width); image.setAttribute("height", value.height);
    image.setAttribute("href", value.image);
    if (shown !== value.token) { cross = null; points = []; drawing = false; shown = value.token; }
  }
  $(".outlines").replaceChildren(...(value.plain ? regions.map(outline) : []));
  $(".regions").replaceChildren(...regions.map((region, index) => item(region, index, value)));
  board.dataset.count = regions.length; board.dataset.token = value.token || "";
  draft();
}

const onStage = (event) => event.target.closest && event.target.closest("svg") && state().image;

element.addEventListener("pointerdown", (event) => {
  if (!onStage(event) || event.button) return;
  event.preventDefault();
  $(".stage").focus({ preventScroll: true });
  cross = null;
  if (tool === "polygon") { points.push(place(event)); draft(); return; }
  points = [place(event)]; drawing = true;
  try { event.target.closest("svg").setPointerCapture(event.pointerId); } catch (error) { /* a synthetic event */ }
  draft();
});
element.addEventListener("pointermove", (event) => {
  if (!drawing) return;
  const next = place(event), last = points[points.length - 1];
  if (tool === "box") points = [points[0], next];
  else if (tool === "stroke" && points.length < 2000 && Math.hypot(next[0] - last[0], next[1] - last[1]) >= Math.max(1, unit())) points.push(next);
  draft();
});
element.addEventListener("pointerup", (event) => {
  if (!drawing) return;
  if (tool === "box") points = [points[0], place(event)];
  finish();
});
element.addEventListener("pointercancel", () => { drawing = false; points = []; draft(); });
element.addEventListener("dblclick", (event) => {
  if (onStage(event) && tool === "polygon") { points.pop(); finish(); }
});
element.addEventListener("keydown", (event) => {
  if (!event.target.closest(".stage") || !state().image) return;
  const { width, height } = state(), step = (event.shiftKey ? 0.01 : 0.05) * Math.max(width, height);
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (event.key in moves) {
    const [x, y] = cross || [width / 2, height / 2], [dx, dy] = moves[event.key];
    cross = clamp([x + dx, y + dy]);
    if (tool === "box" && points.length) points = [points[0], cross];
    if (tool === "stroke" && points.length) points.push(cross);
  } else if (event.key === "Escape") { points = []; drawing = false; cross = null; }
  else if (event.key === "Enter" || event.key === " ") {
    if (tool === "polygon" && points.length > 2 && event.key === "Enter" && (!cross || String(cross) === String(points[points.length - 1]))) finish();
    else if (!cross) cross = clamp([width / 2, height / 2]);
    else if (tool === "box" || tool === "stroke") { if (points.length > 1) finish(); else points = [cross]; }
    else if (tool === "polygon") points.push(cross);
    else { points = [cross]; finish(); }
  } else return;
  event.preventDefault();
  draft();
});
element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { tool: chosen, do: action, remove } = button.dataset;
  if (chosen) { tool = chosen; points = []; drawing = false; render(); }
  else if (remove !== undefined) send({ action: "remove", index: Number(remove) });
  else if (action === "close") finish();
  else if (action === "undo") { if (points.length) { points = []; draft(); } else if ((state().regions || []).length) send({ action: "remove", index: state().regions.length - 1 }); }
  else if (action) send({ action });
});
element.addEventListener("change", (event) => {
  const { choice, field, index } = event.target.dataset || {};
  if (choice === "kind") kind = event.target.value;
  if (choice === "color") { color = event.target.value; draft(); }
  if (field) send({ action: "change", index: Number(index), [field]: event.target.value });
  event.stopPropagation();
});
document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData ? event.clipboardData.files : [])].find((file) => file.type.startsWith("image/"));
  const input = document.querySelector("#upload input[type=file]");
  if (!file || !input) return;
  const transfer = new DataTransfer();
  transfer.items.add(file);
  input.files = transfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
  event.preventDefault();
});
watch("value", render);
render();
