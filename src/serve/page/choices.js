
// The form: what it offers, and what was chosen as the parameters of an export.

const FORMATS = {
  csv: ["CSV", "for spreadsheets and everything else", "csv"],
  json: ["JSON", "one array of objects", "json"],
  ndjson: ["NDJSON", "an object a line, for pipelines", "ndjson"],
  parquet: ["Parquet", "small, for DuckDB, pandas, warehouses", "parquet"],
  arrow: ["Arrow", "a stream of columns in memory", "arrows"],
};
const TYPES = { "": "All", pageview: "Page views", event: "Custom events" };
const COLUMNS = [
  "timestamp", "event_type", "url", "event_name", "event_data", "visitor_id", "session_id", "country", "region", "city",
  "browser", "os", "device", "referrer", "utm_source", "utm_medium", "utm_campaign",
];
const FILTERS = {
  url: "URL", event_name: "Event name", data: "Event data", referrer: "Referrer", country: "Country", region: "Region",
  city: "City", browser: "Browser", os: "System", device: "Device", utm_source: "UTM source", utm_medium: "UTM medium",
  utm_campaign: "UTM campaign", session_id: "Session", visitor_id: "Visitor",
};
const WAYS = {
  is: "is", not: "is not", begins: "begins with", "not-begins": "does not begin with", empty: "is empty", "not-empty": "is not empty",
};

/** Radio buttons of one name; each is a value, its words and whether it can be chosen. */
function radios(into, name, choices, chosen) {
  into.replaceChildren(...choices.map(([value, content, enabled = true]) => make(
    "label",
    {},
    make("input", { type: "radio", name, value, checked: value === chosen, disabled: !enabled }),
    content,
  )));
}

const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`)?.value ?? "";

/** Fills what never changes. */
function fillChoices() {
  const presets = Object.entries(PRESETS).map(([value, [words]]) => [value, make("span", {}, words)]);
  radios($("presets"), "preset", presets, DEFAULT_PRESET);
  const types = Object.entries(TYPES).map(([value, words]) => [value, make("span", {}, words)]);
  radios($("types"), "event_type", types, "");
  $("fields").replaceChildren(...COLUMNS.map((column) => make(
    "label",
    { class: "check" },
    make("input", { type: "checkbox", name: "field", value: column, checked: true }),
    make("code", {}, column),
  )));
}

/** Fills what a key opens. */
function fillOpened({ websites, complete, formats }) {
  const option = ({ id, name, timezone }) => make("option", { value: id, "data-timezone": timezone }, name ? `${name} (${id})` : id);
  $("website").replaceChildren(...websites.map(option));
  $("websites-more").hidden = complete;
  const first = Object.keys(FORMATS).find((format) => formats.includes(format));
  const tiles = Object.entries(FORMATS).map(([value, [words, purpose]]) => {
    const enabled = formats.includes(value);
    const small = make("small", {}, enabled ? purpose : "not with this key");
    return [value, make("span", {}, words, small), enabled];
  });
  radios($("formats"), "format", tiles, first);
}

/** Shows the options of the chosen format, and what is chosen elsewhere in short. */
function showChosen() {
  const format = chosen("format");
  $("spreadsheet-option").hidden = format !== "csv";
  $("event_data-option").hidden = format !== "json" && format !== "ndjson";
  $("compression-option").hidden = format !== "parquet";
  const columns = document.querySelectorAll("input[name=field]:checked").length;
  $("columns-summary").textContent = columns === COLUMNS.length ? "all" : `${columns} of ${COLUMNS.length}`;
  $("filters-none").hidden = $("filters").children.length > 0;
  $("download").textContent = `Download ${FORMATS[format]?.[0] ?? ""}`.trim();
}

let filterCount = 0;

/** One more filter, empty. */
function addFilter() {
  filterCount += 1;
  const id = `filter-${filterCount}`;
  const option = ([value, words]) => make("option", { value }, words);
  const about = { "aria-describedby": `${id}-error` };
  const column = make("select", { "aria-label": "Column", class: "column", ...about }, ...Object.entries(FILTERS).map(option));
  const way = make("select", { "aria-label": "Comparison", class: "way" });
  const dataKey = make("input", { type: "text", class: "data-key", "aria-label": "Key of the event data", placeholder: "key", ...about });
  const value = make("input", { type: "text", class: "value", "aria-label": "Value", placeholder: "value", ...about });
  const remove = make("button", { type: "button", class: "quiet", "aria-label": "Remove this filter" }, "Remove");
  const error = make("p", { class: "error", id: `${id}-error`, hidden: true });
  const matters = () => { value.hidden = way.value.endsWith("empty"); };
  const group = make("div", { class: "filter", role: "group", "aria-label": `Filter ${filterCount}` }, column, dataKey, way, value, remove, error);
  const adapt = () => {
    const isData = column.value === "data";
    dataKey.hidden = !isData;
    group.classList.toggle("with-key", isData);
    const ways = Object.entries(WAYS).filter(([one]) => column.value === "url" || !one.includes("begins"));
    const before = way.value;
    way.replaceChildren(...ways.map(option));
    way.value = before;
    if (way.selectedIndex < 0) way.selectedIndex = 0;
    matters();
  };
  column.addEventListener("change", adapt);
  way.addEventListener("change", matters);
  remove.addEventListener("click", () => {
    const next = group.nextElementSibling ?? group.previousElementSibling;
    group.remove();
    (next?.querySelector("select") ?? $("add-filter")).focus();
    say("Filter removed.");
    changed();
  });
  adapt();
  $("filters").append(group);
  showChosen();
  column.focus();
}

/** What a filter lacks, if anything; until it is there, the filter is left out. */
function lacking(group) {
  const dataKey = group.querySelector(".data-key");
  if (!dataKey.hidden && !dataKey.value) return dataKey;
  const value = group.querySelector(".value");
  return !value.hidden && !value.value ? value : null;
}

/** The parameter of a filter's group. */
function filterName(group) {
  const column = group.querySelector(".column").value;
  return column === "data" ? `data.${group.querySelector(".data-key").value}` : column;
}

/** The value of a filter's group, its marks escaped as the API has it. */
function filterValue(group) {
  const way = group.querySelector(".way").value;
  const isUrl = group.querySelector(".column").value === "url";
  if (way.endsWith("empty")) return way === "empty" ? "" : "!";
  let value = group.querySelector(".value").value.replaceAll("\\", "\\\\");
  if (value.startsWith("!")) value = `\\${value}`;
  if (way.endsWith("begins")) value += "*";
  else if (isUrl && value.endsWith("*")) value = `${value.slice(0, -1)}\\*`;
  return way.startsWith("not") ? `!${value}` : value;
}

/** A file without columns is none. */
const hasColumns = () => document.querySelector("input[name=field]:checked") !== null;

/** The website and the parameters of what is chosen now; what is the default is left out. */
function choices() {
  const format = chosen("format");
  const parameters = new URLSearchParams();
  for (const day of ["start_date", "end_date"]) parameters.append(day, $(day).value);
  parameters.append("format", format);
  const zone = $("timezone").value;
  if (zone !== "UTC") parameters.append("timezone", zone);
  const type = chosen("event_type");
  if (type) parameters.append("event_type", type);
  if ($("include_bots").checked) parameters.append("include_bots", "true");
  const columns = [...document.querySelectorAll("input[name=field]:checked")].map((box) => box.value);
  if (columns.length < COLUMNS.length) parameters.append("fields", columns.join(","));
  if (format === "csv" && $("spreadsheet").checked) parameters.append("spreadsheet", "true");
  if (format.endsWith("json") && $("event_data").checked) parameters.append("event_data", "string");
  if (format === "parquet" && $("compression").value !== "zstd") parameters.append("compression", $("compression").value);
  for (const group of $("filters").children) {
    if (!lacking(group)) parameters.append(filterName(group), filterValue(group));
  }
  return { website: $("website").value, format, parameters };
}

/** The same export from a shell, the key left to a variable of it. */
function curlLine({ website, format, parameters }) {
  const file = `events_${website}_${parameters.get("start_date")}_${parameters.get("end_date")}.${FORMATS[format]?.[2]}`;
  const url = `${location.origin}${ofWebsite(website)}?${parameters}`;
  return `curl --fail --remove-on-error \\\n  -o ${quoted(file)} \\\n  -H "Authorization: Bearer $ROWSPOUT_KEY" \\\n  ${quoted(url)}`;
}
