
// Events a day as bars, drawn for the width that there is; the table beside it says the same.

const HEIGHT = 152;
const FLOOR = 18;
const CEILING = 8;

/** The smallest number with few digits that is not less. */
function roundedUp(most) {
  const power = 10 ** Math.floor(Math.log10(Math.max(most, 1)));
  return [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((top) => top >= most);
}

const short = (number) => new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 }).format(number);

function readable(day, options = { day: "numeric", month: "short" }) {
  return new Intl.DateTimeFormat("en-GB", { ...options, timeZone: "UTC" }).format(new Date(`${day}T00:00:00Z`));
}

function summary(days, rows) {
  if (rows === 0) return "No events.";
  const most = days.reduce((one, other) => (other.rows > one.rows ? other : one));
  const least = days.reduce((one, other) => (other.rows < one.rows ? other : one));
  const span = `${readable(days[0].day)} to ${readable(days.at(-1).day)}`;
  return `Events a day, ${span}: most on ${readable(most.day)} with ${inWords(most.rows)}, fewest on ${readable(least.day)} with ${inWords(least.rows)}.`;
}

function drawChart(into, { days, rows }) {
  const width = Math.max(into.clientWidth, 200);
  const top = roundedUp(Math.max(...days.map((day) => day.rows)));
  const left = 8 + 6.5 * short(top).length;
  const inner = width - left;
  const step = inner / days.length;
  const gap = step > 6 ? Math.min(step * 0.25, 6) : Math.min(step * 0.15, 1);
  const y = (number) => CEILING + (HEIGHT - FLOOR - CEILING) * (1 - number / top);
  const svg = make("svg:svg", { role: "img", "aria-label": summary(days, rows), viewBox: `0 0 ${width} ${HEIGHT}` });
  for (const level of [0, top / 2, top]) {
    if (!Number.isInteger(level)) continue;
    svg.append(
      make("svg:line", { x1: left, x2: width, y1: y(level), y2: y(level) }),
      make("svg:text", { x: left - 6, y: y(level) + 4, "text-anchor": "end" }, short(level)),
    );
  }
  days.forEach(({ day, rows: count }, at) => {
    const x = left + at * step;
    const height = count === 0 ? 0 : Math.max(y(0) - y(count), 1.5);
    const bar = { x: x + gap / 2, y: y(0) - height, width: Math.min(step - gap, 48), height, rx: Math.min(step / 8, 2) };
    if (step - gap > 48) bar.x = x + step / 2 - 24;
    svg.append(make(
      "svg:g",
      {},
      make("svg:title", {}, `${readable(day, { weekday: "short", day: "numeric", month: "long", year: "numeric" })}: ${plural(count, "event", "events")}`),
      make("svg:rect", { class: "hit", x, y: CEILING, width: step, height: HEIGHT - FLOOR - CEILING }),
      make("svg:rect", { class: "bar", ...bar }),
    ));
  });
  const labels = days.length === 1 ? [0] : days.length < 3 ? [0, days.length - 1] : [0, Math.floor((days.length - 1) / 2), days.length - 1];
  for (const at of labels) {
    const anchor = days.length > 1 && at === 0 ? "start" : days.length > 1 && at === days.length - 1 ? "end" : "middle";
    const x = anchor === "start" ? left : anchor === "end" ? width : left + (at + 0.5) * step;
    svg.append(make("svg:text", { x, y: HEIGHT - 2, "text-anchor": anchor }, readable(days[at].day)));
  }
  into.replaceChildren(svg);
}

function fillTable(into, days) {
  into.replaceChildren(...days.map(({ day, rows, share }) => make(
    "tr",
    {},
    make("th", { scope: "row" }, readable(day, { weekday: "short", day: "numeric", month: "short", year: "numeric" })),
    make("td", { class: "number" }, inWords(rows)),
    make("td", { class: "number" }, `${(share * 100).toFixed(1)} %`),
  )));
}
