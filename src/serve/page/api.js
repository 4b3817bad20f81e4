
// The service. The key is in this tab's storage and in the Authorization header, and nowhere else.

const STORED = "rowspout-key";

const key = {
  get: () => sessionStorage.getItem(STORED) ?? "",
  set: (value) => sessionStorage.setItem(STORED, value),
  forget: () => sessionStorage.removeItem(STORED),
};

/** What the service said instead of an answer: its words, and the parameter that they are about. */
class Refusal extends Error {
  constructor(status, message, field = null, retryAfter = 0) {
    super(message);
    this.status = status;
    this.field = field;
    this.retryAfter = retryAfter;
  }

  static of(status, body, headers) {
    const said = body?.error;
    if (!said) return new Refusal(status, `The service answered with status ${status}: try again, or ask whoever runs it.`);
    const retryAfter = Number(headers?.get("Retry-After") ?? 0);
    return new Refusal(status, sentence(said.message, said.field), said.field, retryAfter);
  }
}

/** The service's messages begin in lower case and end without a full stop. The name of a parameter stays as it is. */
function sentence(text, field) {
  const begun = field && text.startsWith(field) ? text : text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

/** Asks with the key; a Refusal where the answer is none. */
async function ask(path, { method = "GET", signal } = {}) {
  let response;
  try {
    const headers = { Authorization: `Bearer ${key.get()}` };
    response = await fetch(path, { method, headers, signal, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, "The service cannot be reached: check the connection and try again.");
  }
  const body = await response.json().catch(() => null);
  if (!response.ok || body === null) throw Refusal.of(response.status, body, response.headers);
  return body;
}

const ofWebsite = (website) => `/api/websites/${encodeURIComponent(website)}/export`;

const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });
