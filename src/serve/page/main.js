
// The walk: a key, choices, an estimate, a download.

/** Opens the workspace with the stored key; a Refusal where it opens nothing. */
async function signIn() {
  const opened = await ask("/api/websites");
  if (opened.websites.length === 0) throw new Refusal(0, "The key is good, but there is no website yet: add one with `rowspout site add`.", "key");
  fillOpened(opened);
  fillZones($("timezone"), siteZone());
  applyPreset();
  $("session-key").textContent = `…${key.get().slice(-4)}`;
  $("session").hidden = false;
  $("sign-in").hidden = true;
  $("workspace").hidden = false;
  document.title = "Export events · Rowspout";
  changed();
}

/** Back to the key, with what is wrong with it, if anything. */
function signOut(message = "") {
  key.forget();
  asking?.abort();
  clearTimeout(waiting);
  $("workspace").hidden = true;
  $("session").hidden = true;
  $("sign-in").hidden = false;
  document.title = "Rowspout";
  $("key").value = "";
  showKeyError(message);
  $("key").focus();
}

function showKeyError(message) {
  $("key-error").textContent = message;
  $("key-error").hidden = !message;
  if (message) $("key").setAttribute("aria-invalid", "true");
  else $("key").removeAttribute("aria-invalid");
}

const siteZone = () => $("website").selectedOptions[0]?.dataset.timezone;

async function submitKey(event) {
  event.preventDefault();
  const given = $("key").value.trim();
  showKeyError("");
  if (!/^[\x21-\x7e]+$/.test(given)) {
    showKeyError(given ? "A key has letters, digits and _ only: copy it again." : "Enter your key: it begins with spk_selfhosted_.");
    $("key").focus();
    return;
  }
  key.set(given);
  $("open").disabled = true;
  try {
    await signIn();
    $("key").value = "";
    $("website").focus();
  } catch (error) {
    key.forget();
    showKeyError(error.message);
    $("key").focus();
  } finally {
    $("open").disabled = false;
  }
}

function choiceMade({ target }) {
  if (target.name === "preset" || target.id === "timezone") applyPreset();
  if (target.id === "website") {
    fillZones($("timezone"), siteZone());
    applyPreset();
  }
  if (target.id === "start_date" || target.id === "end_date") {
    document.querySelector("#presets input[value=custom]").checked = true;
  }
  changed();
}

function allColumns(checked) {
  for (const box of document.querySelectorAll("input[name=field]")) box.checked = checked;
  changed();
}

fillChoices();
$("sign-in").addEventListener("submit", submitKey);
$("forget").addEventListener("click", () => signOut());
$("choices").addEventListener("change", choiceMade);
$("choices").addEventListener("submit", (event) => event.preventDefault());
$("columns-all").addEventListener("click", () => allColumns(true));
$("columns-none").addEventListener("click", () => allColumns(false));
$("add-filter").addEventListener("click", () => {
  addFilter();
  changed();
});
$("download").addEventListener("click", download);
$("cancel").addEventListener("click", cancel);
$("saving").addEventListener("load", frameLoaded);
for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button));
new ResizeObserver(() => { if (plan) drawChart($("chart"), plan); }).observe($("chart"));

if (key.get()) {
  signIn().catch((error) => {
    if (error.status === 401) signOut(error.message);
    else {
      $("sign-in").hidden = false;
      showKeyError(error.message);
    }
  });
} else {
  $("sign-in").hidden = false;
  $("key").focus();
}
