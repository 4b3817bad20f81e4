
// A download: a ticket, by which the browser itself saves the stream, and the export's receipt for how it goes.

const POLL = 500;
/** A ticket that was not used by then never will be: its life, and the longest wait for a place. */
const PATIENCE = 150_000;

const REASONS = {
  cancelled: "It was cancelled.",
  client_left: "The browser ended it, or the connection broke.",
  client_stalled: "The browser took nothing for too long.",
  shutdown: "The service was stopped.",
  lost: "The service stopped without a word.",
  unavailable: "The database could not be reached any more.",
  query_timeout: "The query took longer than the service allows: choose fewer days.",
};

/** The download under way: its export's id, and whether somebody wants it to end. */
let running = null;

async function download() {
  if (running) return;
  clearErrors();
  if (!hasColumns()) {
    showNoColumns(true);
    return;
  }
  const unfinished = [...$("filters").children].find(lacking);
  if (unfinished) {
    showAt(lacking(unfinished), unfinished.querySelector(".error"), "Enter what to filter by, or remove this filter.", true);
    return;
  }
  const wanted = choices();
  const expected = plan?.rows ?? null;
  const button = $("download");
  button.disabled = true;
  try {
    const ticket = await ask(`${ofWebsite(wanted.website)}/tickets?${wanted.parameters}`, { method: "POST" });
    running = { id: ticket.export_id, begun: performance.now(), cancelled: false, refusal: null };
    showBegin(wanted.format);
    // An ordinary navigation, within a frame: an answer that is no file shows up there, and not in this page's stead.
    $("saving").contentWindow.location.replace(ticket.url);
    await follow(running, expected);
  } catch (error) {
    $("progress").hidden = true;
    showError(error, { focus: true });
  } finally {
    running = null;
    button.disabled = false;
  }
}

/** The frame shows what the service answered instead of a file. */
function frameLoaded() {
  let text;
  try {
    const page = $("saving").contentDocument;
    if (!page || page.URL === "about:blank") return;
    text = page.querySelector("pre")?.textContent ?? page.body?.textContent ?? "";
  } catch {
    text = "";
  }
  if (!running) return;
  try {
    const { error } = JSON.parse(text.slice(text.indexOf("{"), text.lastIndexOf("}") + 1));
    running.refusal = new Refusal(0, sentence(error.message, error.field), error.field);
  } catch {
    running.refusal = new Refusal(0, "The file could not be fetched: check the connection and try again.");
  }
}

/** Looks at the receipt until the export has ended. */
async function follow(download, expected) {
  const seen = [];
  let told = 0;
  for (;;) {
    await pause(POLL);
    const receipt = await look(download);
    if (receipt && receipt.status !== "running") {
      showEnd(receipt, download);
      return;
    }
    const now = performance.now();
    if (receipt) {
      seen.push({ at: now, rows: receipt.rows, bytes: receipt.bytes });
      if (seen.length > 8) seen.shift();
      told = showProgress(receipt, expected, seen, now - download.begun, told);
    } else if (download.refusal) {
      throw download.refusal;
    } else if (download.cancelled) {
      showEnd({ status: "aborted", reason: "cancelled", rows: 0, bytes: 0 }, download);
      return;
    } else if (now - download.begun > PATIENCE) {
      throw new Refusal(0, "The download did not begin: allow downloads for this page and try again.");
    }
  }
}

/** The receipt, or null while there is none; a connection that fails for a moment is asked again. */
async function look(download) {
  try {
    const receipt = await ask(`/api/exports/${download.id}`);
    download.failures = 0;
    return receipt;
  } catch (error) {
    if (error.status === 404) return null;
    download.failures = (download.failures ?? 0) + 1;
    if (error.status === 401 || download.failures > 20) throw error;
    await pause(1000 * Math.max(error.retryAfter, 1));
    return null;
  }
}

/** Ends the export. Where the service has not begun it, leaving is enough. */
async function cancel() {
  const download = running;
  if (!download) return;
  const button = $("cancel");
  button.disabled = true;
  for (let attempt = 0; attempt < 10 && running === download; attempt += 1) {
    try {
      await ask(`/api/exports/${download.id}`, { method: "DELETE" });
      return;
    } catch (error) {
      if (error.status === 404) {
        $("saving").contentWindow.location.replace("about:blank");
        download.cancelled = true;
        return;
      }
      if (error.status !== 503) {
        button.disabled = false;
        $("result").textContent = error.message;
        return;
      }
      await pause(1000 * Math.max(error.retryAfter, 1));
    }
  }
  button.disabled = false;
}

function showBegin(format) {
  const progress = $("progress");
  progress.hidden = false;
  progress.dataset.state = "running";
  $("progress-title").textContent = `Downloading ${FORMATS[format][0]}`;
  $("bar").removeAttribute("value");
  $("done-rows").textContent = "0";
  $("done-bytes").textContent = "0 B";
  $("done-rate").textContent = "–";
  $("done-time").textContent = "0 s";
  $("result").textContent = "";
  $("checksum").hidden = true;
  $("cancel").hidden = false;
  $("cancel").disabled = false;
  say("The download begins.");
  progress.focus();
}

/** Shows how far it is; every tenth is said aloud. */
function showProgress({ rows, bytes }, expected, seen, elapsed, told) {
  $("done-rows").textContent = expected ? `${inWords(rows)} of ${inWords(Math.max(expected, rows))}` : inWords(rows);
  $("done-bytes").textContent = size(bytes);
  $("done-time").textContent = duration(elapsed);
  const first = seen[0];
  const last = seen.at(-1);
  const seconds = (last.at - first.at) / 1000;
  if (seconds > 0) $("done-rate").textContent = `${size((last.bytes - first.bytes) / seconds)}/s`;
  if (!expected) return told;
  const part = Math.min(rows / expected, 1);
  $("bar").value = part;
  const tenth = Math.floor(part * 10);
  if (tenth > told) say(`${tenth * 10} percent.`);
  return tenth;
}

function showEnd(receipt, download) {
  const complete = receipt.status === "complete";
  const took = receipt.finished && receipt.started
    ? new Date(receipt.finished) - new Date(receipt.started)
    : performance.now() - download.begun;
  const progress = $("progress");
  progress.dataset.state = receipt.status;
  $("progress-title").textContent = complete ? "Complete" : receipt.reason === "cancelled" ? "Cancelled" : "Not complete";
  $("done-rows").textContent = inWords(receipt.rows);
  $("done-bytes").textContent = size(receipt.bytes);
  $("done-rate").textContent = `${size(receipt.bytes / Math.max(took / 1000, 0.001))}/s`;
  $("done-time").textContent = took < 9950 ? `${(took / 1000).toFixed(1)} s` : duration(took);
  $("bar").value = complete ? 1 : $("bar").hasAttribute("value") ? $("bar").value : 0;
  $("cancel").hidden = true;
  $("sha256").textContent = receipt.sha256 ?? "";
  $("checksum").hidden = !receipt.sha256;
  $("result").textContent = complete
    ? `The file has all ${plural(receipt.rows, "row", "rows")} and ${inWords(receipt.bytes)} bytes. It is among your downloads.`
    : `${REASONS[receipt.reason] ?? `The service failed: whoever runs it finds the reason in its log under ${download.id}.`} What is among your downloads is not the whole file: delete it.`;
  say(`${$("progress-title").textContent}. ${$("result").textContent}`);
  if (document.activeElement === $("cancel") || document.activeElement === document.body) progress.focus();
}
