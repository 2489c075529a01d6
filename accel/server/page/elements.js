"use strict";
// Elements and words: what the other parts draw with. Nothing here ever reads HTML from a string.

const at = id => document.getElementById(id);

function el(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function style(node, className) {
  if (node.className !== className) node.className = className;
}

const GROUPED = new Intl.NumberFormat("en");
const count = number => GROUPED.format(Math.round(number));
const rate = number => number < 10 ? String(Math.round(number * 10) / 10) : count(number);
const percent = part => Number.isFinite(part) ? (part * 100).toFixed(part > 0.0999 && part < 0.9995 ? 1 : 2)
  .replace(/\.0+$/, "") + " %" : "–";

function bytes(number) {
  let unit = 0;
  for (; number >= 1000 && unit < 5; unit++) number /= 1024;
  return (unit && number < 10 ? number.toFixed(1) : Math.round(number)) + [" B", " KiB", " MiB", " GiB", " TiB", " PiB"][unit];
}

function time(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds < 0.000995) return Math.round(seconds * 1e6) + " µs";
  if (seconds < 0.0995) return (seconds * 1e3).toPrecision(2).replace(/\.0$/, "") + " ms";
  if (seconds < 0.9995) return Math.round(seconds * 1e3) + " ms";
  if (seconds < 60) return (Math.round(seconds * 10) / 10) + " s";
  const units = [[86400, "d"], [3600, "h"], [60, "min"]];
  const first = units.findIndex(([size]) => seconds >= size);
  const [size, name] = units[first];
  const rest = units[first + 1];
  const more = rest ? Math.floor(seconds % size / rest[0]) : 0;
  return Math.floor(seconds / size) + " " + name + (more ? ` ${more} ${rest[1]}` : "");
}

// A table whose rows are kept from one drawing to the next by their key, so that a button stays the one that is pressed.
// `columns`: [heading, kind, value(row)]; kind has "number", "key" or "wordy"; a value is text, [text, class] or a node.
function tabled(table, columns) {
  const head = columns.map(([name, kind]) => el("th", kind === "number" ? "number" : "", name));
  const body = el("tbody");
  table.replaceChildren(el("thead", "", el("tr", "", ...head)), body);
  const rows = new Map();
  return (values, keyOf) => {
    const seen = new Set();
    values.forEach((value, index) => {
      const key = keyOf(value);
      seen.add(key);
      if (!rows.has(key)) rows.set(key, row(columns));
      const shown = rows.get(key);
      columns.forEach(([, kind, of], place) => fill(shown.cells[place], kind, of(value)));
      if (body.children[index] !== shown) body.insertBefore(shown, body.children[index] || null);
    });
    for (const [key, shown] of rows) {
      if (!seen.has(key)) { shown.remove(); rows.delete(key); }
    }
  };
}

function row(columns) {
  const cells = columns.map(([name, kind]) => {
    const cell = el("td", kind);
    if (name) cell.dataset.label = name;
    return cell;
  });
  return el("tr", "", ...cells);
}

function fill(cell, kind, value) {
  if (value instanceof Node) {
    if (cell.firstChild !== value) cell.replaceChildren(value);
  } else if (Array.isArray(value)) {
    if (!(cell.firstChild instanceof Element)) cell.replaceChildren(el("span"));
    say(cell.firstChild, value[0]);
    style(cell.firstChild, value[1]);
  } else {
    say(cell, value);
  }
}

function legend(node, names) {
  node.replaceChildren(...Object.entries(names).map(([name, words]) => el("span", "", el("i", name), words)));
}
