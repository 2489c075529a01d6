// What is drawn: lines in the tiles, traffic over time, the map of the store. Colours are the style's.

const colour = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

function sparkline(path, values) {
  const most = Math.max(...values, 1e-9);
  const step = 100 / Math.max(1, values.length - 1);
  const points = values.map((value, index) => `${(index * step).toFixed(1)} ${(25 - value / most * 23).toFixed(1)}`);
  path.setAttribute("d", points.length > 1 ? "M" + points.join("L") : "");
}

// A canvas as large as it is shown, in its device's pixels; returns what to draw with, in CSS pixels.
function surface(canvas, height) {
  const scale = devicePixelRatio || 1;
  const width = canvas.clientWidth;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.height = height + "px";
  }
  const drawing = canvas.getContext("2d");
  drawing.setTransform(scale, 0, 0, scale, 0, 0);
  drawing.clearRect(0, 0, width, height);
  return [drawing, width];
}

function roundUp(number) {
  const size = 10 ** Math.floor(Math.log10(Math.max(number, 1)));
  return size * [1, 2, 5, 10].find(step => number <= size * step);
}

// `samples`: one object of rates a second; `names`: what is stacked, from below.
function drawTraffic(canvas, samples, names, most) {
  const height = 160;
  const [drawing, width] = surface(canvas, height);
  const top = roundUp(Math.max(1, ...samples.map(sample => names.reduce((sum, name) => sum + sample[name], 0))));
  const x = index => width - (samples.length - 1 - index) * width / (most - 1);
  const y = value => height - 1 - value / top * (height - 14);
  const below = samples.map(() => 0);
  for (const name of names) {
    drawing.beginPath();
    samples.forEach((_, index) => drawing.lineTo(x(index), y(below[index])));
    samples.forEach((sample, index) => { below[index] += sample[name]; });
    for (let index = samples.length - 1; index >= 0; index--) drawing.lineTo(x(index), y(below[index]));
    drawing.fillStyle = colour(name);
    drawing.fill();
  }
  drawing.font = "12px system-ui, sans-serif";
  for (const part of [1, 0.5]) {
    const line = Math.round(y(top * part)) + 0.5;
    drawing.fillStyle = colour("line");
    drawing.fillRect(0, line, width, 1);
    drawing.fillStyle = colour("dim");
    drawing.fillText(rate(top * part), 2, line + 13);
  }
}

const KINDS = { main: "in use again and again", probation: "came lately", open: "being written", emptied: "being emptied", free: "free" };
const STATES = ["free", "open", "sealed", "claimed", "limbo"];

function segment(byte) {
  const state = STATES[byte >> 5] || "free";
  const queue = byte & 16 ? "main" : "probation";
  const kind = state === "sealed" ? queue : state === "claimed" || state === "limbo" ? "emptied" : state;
  return { kind, queue, part: kind === "free" ? 0 : (byte & 15) / 15 };
}

const CELL = { large: 16, small: 4 };

function mapGrid(width, total) {
  let size = CELL.large;
  while (size > CELL.small && Math.ceil(total / Math.floor(width / size)) * size > 220) size--;
  return { size, columns: Math.max(1, Math.floor(width / size)) };
}

function drawMap(canvas, map) {
  const { size, columns } = mapGrid(canvas.clientWidth, map.length);
  const [drawing] = surface(canvas, Math.ceil(map.length / columns) * size);
  const colours = Object.fromEntries(Object.keys(KINDS).map(kind => [kind, colour(kind)]));
  const gap = size > 6 ? 2 : 1;
  for (let number = 0; number < map.length; number++) {
    const { kind, part } = segment(map.charCodeAt(number));
    const left = number % columns * size, top = Math.floor(number / columns) * size, side = size - gap;
    drawing.fillStyle = colours.free;
    drawing.fillRect(left, top, side, side);
    const filled = kind === "emptied" ? side : Math.max(part ? 2 : 0, Math.round(part * side));
    drawing.fillStyle = colours[kind];
    drawing.fillRect(left, top + side - filled, side, filled);
  }
}

function segmentAt(canvas, map, event) {
  const { size, columns } = mapGrid(canvas.clientWidth, map.length);
  const number = Math.floor(event.offsetY / size) * columns + Math.floor(event.offsetX / size);
  if (event.offsetX >= columns * size || number >= map.length) return "";
  const { kind, queue, part } = segment(map.charCodeAt(number));
  if (kind === "free") return `segment ${number}: free`;
  return `segment ${number}: ${KINDS[kind]}${kind === queue ? "" : `, of those that ${queue === "main" ? "stay" : "came lately"}`}, ` +
    `${Math.round(part * 100)} % full`;
}
