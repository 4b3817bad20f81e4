
// Errors in words, where they belong: at the field that the service named, or above the button.

/** The field's control and its line for errors. */
function placeOf(field) {
  const plain = {
    website: "website", timezone: "timezone", include_bots: "include_bots", spreadsheet: "spreadsheet",
    event_data: "event_data", compression: "compression", start_date: "start_date", end_date: "end_date",
  };
  if (field in plain) return { control: $(plain[field]), line: $(`error-${plain[field]}`) };
  const groups = { format: "formats", event_type: "types", fields: "fields" };
  if (field in groups) return { control: $(groups[field]), line: $(`error-${field}`) };
  const group = [...$("filters").children].find((one) => filterName(one) === field);
  if (group) {
    const control = group.querySelector(field === "data." ? ".data-key" : ".value");
    return { control, line: group.querySelector(".error") };
  }
  return null;
}

function clearErrors() {
  for (const line of $("workspace").querySelectorAll(".error")) {
    line.hidden = true;
    line.textContent = "";
  }
  for (const control of $("workspace").querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
}

/** Shows an error; `focus` is for those that answer a press of a button, so that nobody who types is interrupted. */
function showError(error, { focus }) {
  if (error.status === 401) {
    signOut(error.message);
    return;
  }
  const place = error.field === null || error.field === undefined ? null : placeOf(error.field);
  if (place) showAt(place.control, place.line, error.message, focus);
  else showAt(null, $("general-error"), error.message, focus);
}

/** Shows a message at a control, or by itself. */
function showAt(control, line, message, focus) {
  line.textContent = message;
  line.hidden = false;
  control?.setAttribute("aria-invalid", "true");
  control?.closest("details")?.setAttribute("open", "");
  if (focus) (control ? firstControl(control) : line).focus();
  else say(message);
}

function showNoColumns(focus) {
  showAt($("fields"), $("error-fields"), "Choose at least one column.", focus);
}

/** The control itself, or what can be chosen in a group of them. */
function firstControl(control) {
  if (control.matches("input, select")) return control;
  return control.querySelector("input:checked") ?? control.querySelector("input") ?? control;
}
