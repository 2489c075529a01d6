// What the log's rings say of the last minutes: times of answers, errors, and what missed most, and why.
// The admin gives rings and histograms as they lie in memory (stats/records, stats/histograms); they are read here.

const SUB_BITS = 3;
const RING_PAGE = 65536;
const READ_BYTES = 4 * RING_PAGE;
const SHOWN_ERRORS = 15, SHOWN_MISSES = 12, KEPT_MISSES = 3000;
const OUTCOME_WORDS = ["hit", "stale", "miss", "pass", "synthetic", "error"];
const REASON_WORDS = {
  1: "the rules pass it", 2: "its method is not cached", 3: "nothing was stored for it", 4: "only other variants (Vary) were stored",
  5: "nothing usable was stored", 6: "the request asked for a new one", 7: "what was stored was stale", 8: "only a part was stored",
};

function lowest(bucket) {
  const shift = Math.max(0, (bucket >> SUB_BITS) - 1);
  return (bucket - (shift << SUB_BITS)) * 2 ** shift;
}

function quantile(buckets, share) {
  const total = buckets.reduce((sum, [, number]) => sum + number, 0);
  let seen = 0;
  for (const [bucket, number] of buckets) {
    seen += number;
    if (total && seen >= share * total) return (lowest(bucket) + lowest(bucket + 1)) / 2e6;
  }
  return NaN;
}

// What came between two readings of one histogram; everything where that is nothing.
function latest(now, before) {
  const then = new Map(before ? before.buckets : []);
  const fresh = now.buckets.map(([bucket, number]) => [bucket, number - (then.get(bucket) || 0)]).filter(([, number]) => number > 0);
  return fresh.length ? fresh : now.buckets;
}

const readings = [];

function latencyOf(histograms) {
  readings.push(histograms.first_byte_us);
  readings.splice(0, readings.length - 7);
  return Object.fromEntries(["hit", "miss"].map(kind => {
    const buckets = latest(readings[readings.length - 1][kind], readings.length > 1 && readings[0][kind]);
    return [kind, { p50: quantile(buckets, 0.5), p99: quantile(buckets, 0.99) }];
  }));
}

const places = new Map();
const errors = [];
const misses = new Map();
const utf8 = new TextDecoder();

async function readLog() {
  const { pid, rows } = await ask("/log");
  for (const [row, ring] of Object.entries(rows || {})) {
    const newest = Math.ceil(Math.max(0, ring.head - READ_BYTES) / RING_PAGE) * RING_PAGE;
    const from = Math.max(ring.oldest, newest, places.get(row + "/" + pid) || 0);
    if (from >= ring.head) continue;
    const piece = await post("/log", { row: Number(row), from });
    places.set(row + "/" + pid, piece.next);
    const data = Uint8Array.from(atob(piece.records), letter => letter.charCodeAt(0));
    for (const one of recordsOf(data)) note(one);
  }
  errors.sort((first, second) => second.at - first.at);
  errors.splice(SHOWN_ERRORS);
  drawLog();
}

const FIXED_BYTES = 104, EXCHANGE = 1;
const LENGTHS_AT = 58, TEXTS = ["client", "method", "host", "target", "referer", "agent", "backend", "rule", "tags"];

function* recordsOf(data) {
  const view = new DataView(data.buffer);
  for (let start = 0; start + 8 <= data.length;) {
    const length = view.getUint32(start, true);
    if (length < 8 || length % 8 || start + length > data.length) return;
    if (view.getUint16(start + 4, true) === EXCHANGE && length >= FIXED_BYTES) yield record(data, view, start);
    start += length;
  }
}

function record(data, view, start) {
  const one = {
    at: view.getFloat64(start + 16, true), status: view.getUint16(start + 52, true),
    outcome: OUTCOME_WORDS[data[start + 55]], reason: data[start + 56], origin: view.getFloat32(start + 88, true),
  };
  let place = start + FIXED_BYTES;
  TEXTS.forEach((name, index) => {
    const length = view.getUint16(start + LENGTHS_AT + 2 * index, true);
    one[name] = utf8.decode(data.subarray(place, place + length));
    place += length;
  });
  return one;
}

function note(one) {
  if (one.status >= 500 || one.outcome === "error") errors.push(one);
  if (one.outcome !== "miss" && one.outcome !== "pass") return;
  const url = one.host + one.target;
  const known = misses.get(url) || { url, count: 0, origin: 0 };
  known.count += 1;
  known.origin += Number.isFinite(one.origin) ? one.origin : 0;
  known.why = one.reason;
  known.rule = one.rule;
  misses.set(url, known);
  if (misses.size > KEPT_MISSES) {
    const least = [...misses.values()].sort((first, second) => first.origin - second.origin).slice(0, KEPT_MISSES / 2);
    for (const { url: dropped } of least) misses.delete(dropped);
  }
}

const missTable = tabled(at("misses"), [
  ["URL", "key mono", one => one.url],
  ["forwarded", "number", one => count(one.count)],
  ["waited for origins", "number", one => time(one.origin)],
  ["why, the last time", "wordy", one => REASON_WORDS[one.why] || "not said"],
  ["rule", "mono", one => one.rule],
]);

const errorTable = tabled(at("errors"), [
  ["request", "key mono", one => `${one.method} ${one.host}${one.target}`],
  ["when", "", one => new Date(one.at * 1000).toLocaleTimeString()],
  ["status", "number", one => one.status ? String(one.status) : "none"],
  ["outcome", "", one => one.outcome],
  ["backend", "mono", one => one.backend],
  ["client", "mono", one => one.client],
  ["rule", "mono", one => one.rule],
]);

function drawLog() {
  const most = [...misses.values()].sort((first, second) => second.origin - first.origin).slice(0, SHOWN_MISSES);
  at("misses-section").hidden = !most.length;
  missTable(most, one => one.url);
  at("errors-section").hidden = !errors.length;
  errorTable(errors, one => `${one.at} ${one.client} ${one.target}`);
}
