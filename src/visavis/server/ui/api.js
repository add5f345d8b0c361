// The server's public API, as the page calls it.

const ROOT = new URL("../", location.href.replace(/[?#].*/, "")).href;
const KEPT = "visavis-key"; // in this tab alone
const RANKS = ["read", "probe", "enrol", "admin"];

/** What went wrong: the server's problem, or that it cannot be reached. */
export class Problem extends Error {
  constructor({ code, detail = "", status = 0, field, errors = [] }, retryAfter = 0) {
    super(detail || code);
    Object.assign(this, { code, detail, status, field, errors, retryAfter });
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEPT) || "",
  set: (value) => (value ? sessionStorage.setItem(KEPT, value) : sessionStorage.removeItem(KEPT)),
};

/** Called where the server wants a key, or another one. */
export const asked = { forKey: () => {} };

/** Tell whether access, as the server described it, includes a scope, for a gallery if one is named. */
export function may(access, scope, gallery) {
  if (!access || RANKS.indexOf(access.scope) < RANKS.indexOf(scope)) return false;
  return !gallery || !access.galleries.length || access.galleries.includes(gallery);
}

export const path = (...parts) => parts.map(encodeURIComponent).join("/");

export async function send(method, where, { json, form, signal, headers = {} } = {}) {
  const sent = { ...headers, ...(key.get() && { "X-API-Key": key.get() }) };
  if (json !== undefined) sent["Content-Type"] = "application/json";
  const body = json === undefined ? form : JSON.stringify(json);
  let answer;
  try {
    answer = await fetch(ROOT + where, { method, headers: sent, body, signal, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ code: "unreachable" });
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  const told = { code: "internal", detail: answer.statusText, ...problem, status: answer.status };
  if (answer.status === 401) asked.forKey(told);
  throw new Problem(told, Number(answer.headers.get("Retry-After")) || 0);
}

export const call = async (...args) => (await send(...args)).json();
export const get = (where, options) => call("GET", where, options);

/** A form: values that are undefined or empty are left out, lists are repeated. */
export function form(values) {
  const made = new FormData();
  for (const [name, value] of Object.entries(values)) {
    for (const each of [value].flat()) {
      if (each instanceof Blob) made.append(name, each, each.name || "image.jpg");
      else if (each !== undefined && each !== "") made.append(name, String(each));
    }
  }
  return made;
}

async function inBase64(blob) {
  const url = await new Promise((done, fail) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => fail(reader.error);
    reader.readAsDataURL(blob);
  });
  return url.slice(url.indexOf(",") + 1);
}

/** What a call may take: images as files in a form; where one is a URL, all of them in JSON. */
export async function body(images, values) {
  const all = Object.values(images).flat();
  if (!all.some((each) => each.url)) {
    return { form: form({ ...Object.fromEntries(Object.entries(images).map(([name, each]) =>
      [name, [each].flat().map((image) => image.file)])), ...values }) };
  }
  const plain = async (image) => (image.url ? { url: image.url } : { base64: await inBase64(image.file) });
  const json = { ...values };
  for (const [name, each] of Object.entries(images)) {
    json[name] = Array.isArray(each) ? await Promise.all(each.map(plain)) : await plain(each);
  }
  return { json };
}
