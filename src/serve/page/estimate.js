
// How much it will be: the plan of what is chosen now, asked for when something changed.

/** The newest plan, and the request for it while it is under way. */
let plan = null;
let asking = null;
let waiting = 0;

/** Parts are of no use here, so there are as few as can be. */
const PART_ROWS = "1000000000";
const SETTLING = 250;

/** Something was chosen: the newest choice counts. */
function changed() {
  showChosen();
  clearErrors();
  $("curl").textContent = curlLine(choices());
  asking?.abort();
  clearTimeout(waiting);
  plan = null;
  $("estimate").setAttribute("aria-busy", "true");
  $("size").textContent = "Counting…";
  waiting = setTimeout(estimate, SETTLING);
}

async function estimate() {
  if (!hasColumns()) {
    showNoPlan();
    showNoColumns(false);
    $("estimate").setAttribute("aria-busy", "false");
    return;
  }
  const { website, format, parameters } = choices();
  parameters.append("part_rows", PART_ROWS);
  asking = new AbortController();
  const { signal } = asking;
  try {
    const found = await ask(`${ofWebsite(website)}/plan?${parameters}`, { signal });
    if (signal.aborted) return;
    plan = found;
    showPlan(format);
  } catch (error) {
    if (signal.aborted) return;
    showNoPlan();
    showError(error, { focus: false });
  }
  $("estimate").setAttribute("aria-busy", "false");
}

function showPlan(format) {
  const { rows, bytes_estimate: bytes, days } = plan;
  const name = FORMATS[format][0];
  $("rows").textContent = inWords(rows);
  $("rows-unit").textContent = rows === 1 ? "event" : "events";
  $("size").textContent = rows === 0
    ? "There is nothing in this period: choose other days or filters."
    : `about ${size(bytes)} as ${name}, over ${plural(days.length, "day", "days")}`;
  drawChart($("chart"), plan);
  fillTable($("days-table"), days);
  $("days-details").hidden = false;
  say(`${plural(rows, "event", "events")}, about ${size(bytes)} as ${name}.`);
}

function showNoPlan() {
  $("rows").textContent = "–";
  $("rows-unit").textContent = "events";
  $("size").textContent = "";
  $("chart").replaceChildren();
  $("days-details").hidden = true;
}
