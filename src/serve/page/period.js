
// Days of a zone, and the periods that people mean most.

const BROWSER_ZONE = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

/** Today in a zone, as YYYY-MM-DD; in UTC where the browser does not know the zone. */
function today(zone) {
  const options = { year: "numeric", month: "2-digit", day: "2-digit" };
  let format;
  try {
    format = new Intl.DateTimeFormat("en", { ...options, timeZone: zone });
  } catch {
    format = new Intl.DateTimeFormat("en", { ...options, timeZone: "UTC" });
  }
  const parts = format.formatToParts(new Date());
  const part = (type) => parts.find((one) => one.type === type).value;
  return `${part("year")}-${part("month")}-${part("day")}`;
}

/** A day so many days later. */
function shifted(day, days) {
  const date = new Date(`${day}T00:00:00Z`);
  date.setUTCDate(date.getUTCDate() + days);
  return date.toISOString().slice(0, 10);
}

const firstOfMonth = (day) => `${day.slice(0, 8)}01`;

/** First and last day by today. */
const PRESETS = {
  today: ["Today", (day) => [day, day]],
  yesterday: ["Yesterday", (day) => [shifted(day, -1), shifted(day, -1)]],
  week: ["Last 7 days", (day) => [shifted(day, -6), day]],
  month: ["Last 30 days", (day) => [shifted(day, -29), day]],
  quarter: ["Last 90 days", (day) => [shifted(day, -89), day]],
  "this-month": ["This month", (day) => [firstOfMonth(day), day]],
  "last-month": ["Last month", (day) => {
    const last = shifted(firstOfMonth(day), -1);
    return [firstOfMonth(last), last];
  }],
  custom: ["Other days", null],
};
const DEFAULT_PRESET = "month";

/** The zones of the list: those that are meant most, then all that the browser knows. */
function fillZones(select, siteZone) {
  const chosen = select.value || BROWSER_ZONE;
  const named = new Map([[BROWSER_ZONE, `${BROWSER_ZONE} (this browser's)`]]);
  if (siteZone) named.set(siteZone, `${siteZone} (${siteZone === BROWSER_ZONE ? "the website's and this browser's" : "the website's"})`);
  if (!named.has("UTC")) named.set("UTC", "UTC");
  const all = Intl.supportedValuesOf?.("timeZone") ?? [];
  const option = (value, text = value) => make("option", { value }, text);
  const likely = make("optgroup", { label: "Likely" }, ...[...named].map(([zone, text]) => option(zone, text)));
  const others = all.filter((zone) => !named.has(zone)).map((zone) => option(zone));
  select.replaceChildren(likely, make("optgroup", { label: "All" }, ...others));
  select.value = chosen;
  if (select.selectedIndex < 0) select.selectedIndex = 0;
}

/** Puts the days of the chosen preset into the form; days that were chosen by hand stay. */
function applyPreset() {
  const preset = document.querySelector("#presets input:checked")?.value ?? DEFAULT_PRESET;
  const days = PRESETS[preset][1];
  if (days) [$("start_date").value, $("end_date").value] = days(today($("timezone").value));
}
