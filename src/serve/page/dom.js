
// What every part uses: elements, numbers in words, and one voice for screen readers.

const $ = (id) => document.getElementById(id);

/** An element with its attributes and content; texts stay texts. */
function make(name, attributes = {}, ...content) {
  const element = name.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", name.slice(4))
    : document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(attribute, "");
    else if (value !== false && value !== null) element.setAttribute(attribute, value);
  }
  element.append(...content);
  return element;
}

const inWords = (number) => number.toLocaleString("en-US");

/** Bytes with a unit of powers of ten, as file managers show them. */
function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (bytes >= 999.5 && at < units.length - 1) {
    bytes /= 1000;
    at += 1;
  }
  const digits = at === 0 || bytes >= 99.95 ? 0 : 1;
  return `${bytes.toFixed(digits)} ${units[at]}`;
}

function duration(milliseconds) {
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const plural = (number, one, many) => `${inWords(number)} ${number === 1 ? one : many}`;

/** Quoted for a POSIX shell, whatever it holds. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Says something to who cannot see it. */
function say(text) {
  $("live").textContent = text;
}

/** Copies what an element shows; where the browser does not let it, the text is selected to be copied by hand. */
async function copy(button) {
  const from = $(button.dataset.copy);
  const label = button.firstChild;
  const before = label.data;
  try {
    await navigator.clipboard.writeText(from.textContent);
    label.data = "Copied";
    say("Copied.");
  } catch {
    getSelection().selectAllChildren(from);
    label.data = "Selected";
    say("Selected: copy it with the keyboard.");
  }
  setTimeout(() => { label.data = before; }, 2000);
}
