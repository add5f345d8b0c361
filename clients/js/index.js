/** Client of a visavis server. An image is a Blob, a File, bytes, or a string or URL to fetch it from. */

const MOST_IMAGES = 16, MOST_PAIRS = 500, MOST_PROBES = 100, MOST_LINES = 500; // in one call
const MOST_BYTES = 20_000_000, MOST_LINE_BYTES = 8_000_000; // in one call, where it is of several images, or lines
const PAGE = 200; // items of a list that are asked for at a time
const BUSY = [429, 503];
// Node's names of failures before anything was sent; browsers do not tell.
const UNSENT = ["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"];

/** What went wrong. Programs may rely on `code`; `message` is for people. */
export class VisavisError extends Error {
  constructor(code, message, { status = 0, requestId = null, retryAfter = null, field = null, errors, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    Object.assign(this, { name: "VisavisError", code, status, requestId, retryAfter, field, errors: errors ?? [] });
  }
}

/** A server. */
export class Client {
  #base; #headers; #timeout; #retries; #fetch;

  constructor(baseUrl, { key, timeout = 30_000, retries = 3, fetch = globalThis.fetch } = {}) {
    const url = new URL(baseUrl);
    if (!/^https?:$/.test(url.protocol) || url.username) throw new TypeError("a server is an http or https URL");
    if (!(timeout > 0)) throw new RangeError("timeout must be a number of milliseconds above 0");
    if (!Number.isInteger(retries) || retries < 0) throw new RangeError("retries must be a whole number from 0 on");
    this.#base = url.href.replace(/\/*$/, "/");
    this.#headers = key ? { Authorization: `Bearer ${key}` } : {};
    this.#timeout = timeout;
    this.#retries = retries;
    this.#fetch = fetch;
  }

  async detect(image, options) { return only(await this.detectMany([image], options)); }
  async detectMany(images, options) { return askImages(this, "v1/detect", images, options); }
  async embed(image, options) { return only(await this.embedMany([image], options)); }
  async embedMany(images, options) { return askImages(this, "v1/embed", images, options); }

  async verify(a, b, { signal, ...options } = {}) {
    return this.json("POST", "v1/verify", { ...await body({ a, b }, options), signal });
  }

  async compare(a, b, options) { return only(await this.compareMany([[a, b]], options)); }

  async compareMany(pairs, { signal, ...options } = {}) {
    const sent = Array.from(pairs, ([a, b]) => ({ a: [...a], b: [...b] }));
    const results = [];
    for (const some of chunks(sent, MOST_PAIRS)) {
      const answer = await this.json("POST", "v1/compare", { json: { pairs: some, ...options }, signal });
      results.push(...answer.results.map((result) => result.error ? problem(result.error) : result));
    }
    return results;
  }

  gallery(name) { return new Gallery(this, name); }
  async galleries({ signal } = {}) { return (await this.json("GET", "v1/galleries", { signal })).galleries; }

  async createGallery(name, { signal, ...options } = {}) {
    const gallery = this.gallery(name);
    await this.json("POST", "v1/galleries", { json: { name, ...options }, signal, once: true });
    return gallery;
  }

  async getOrCreateGallery(name, { signal, ...options } = {}) {
    const gallery = this.gallery(name);
    await this.json("PUT", `v1/galleries/${segment(name)}`, { json: options, signal });
    return gallery;
  }

  async preview(image, { signal, ...options } = {}) {
    return this.json("POST", "v1/preview", { ...await body({ image }, options), signal });
  }

  log({ signal, ...query } = {}) { return this.pages("GET", "v1/log", "entries", { query, signal }); }
  async access({ signal } = {}) { return this.json("GET", "v1/access", { signal }); }
  async doctor({ signal } = {}) { return this.json("GET", "v1/doctor", { signal }); }
  async models({ signal } = {}) { return this.json("GET", "v1/models", { signal }); }
  async metrics({ signal } = {}) { return (await this.call("GET", "metrics", { signal })).text(); }
  async alive({ signal } = {}) { return this.#is("healthz", signal); }
  async ready({ signal } = {}) { return this.#is("readyz", signal); }

  async #is(path, signal) {
    const answer = await this.#send("GET", path, { signal });
    await answer.arrayBuffer();
    return answer.ok;
  }

  /** Give the items of a list, asked for a page at a time. */
  async *pages(method, path, name, { signal, query, json }) {
    for (let cursor = ""; cursor !== null;) {
      const part = { limit: PAGE, cursor };
      const request = json ? { json: { ...json, ...part } } : { query: { ...query, ...part } };
      const page = await this.json(method, path, { ...request, signal });
      yield* page[name];
      cursor = page.next_cursor;
    }
  }

  async json(method, path, request) {
    const answer = await this.call(method, path, request);
    return answer.json().catch((cause) => {
      throw new VisavisError("unexpected", "this is no answer of a visavis server", { status: answer.status, cause });
    });
  }

  /** Make a call, and again while that helps and does no harm; return a good answer, or throw what went wrong. */
  async call(method, path, { once = false, ...request } = {}) {
    for (let tries = 0; ; tries += 1) {
      let failure;
      try {
        const answer = await this.#send(method, path, request);
        if (answer.ok) return answer;
        failure = await refusal(answer);
      } catch (error) {
        if (!(error instanceof VisavisError)) throw error; // the caller's own signal
        failure = error;
      }
      // A server that says that it is busy has done nothing; one that did not answer may have.
      const unsent = failure.code === "unreachable" && (!once || UNSENT.includes(failure.cause?.cause?.code));
      const asked = 1000 * (failure.retryAfter ?? 0);
      const again = BUSY.includes(failure.status) ? asked <= this.#timeout : unsent;
      if (tries >= this.#retries || !again) throw failure;
      await pause(asked + Math.min(250 * 2 ** tries, 8000) * (0.5 + Math.random() / 2), request.signal);
    }
  }

  async #send(method, path, { json, query, headers, signal, body, stream = false }) {
    const url = new URL(this.#base + path);
    for (const [name, value] of Object.entries(query ?? {})) {
      if (value !== undefined && value !== "") url.searchParams.set(name, Array.isArray(value) ? value.join() : value);
    }
    const kind = json === undefined ? {} : { "Content-Type": "application/json" };
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), this.#timeout);
    try {
      const answer = await this.#fetch.call(globalThis, url, {
        method,
        headers: { ...this.#headers, ...kind, ...headers },
        body: json === undefined ? body : JSON.stringify(json),
        signal: signal ? AbortSignal.any([signal, late.signal]) : late.signal,
        redirect: "error",
      });
      // With all of it, so that the time is that of the whole answer; but a long one is read as it comes.
      if (stream && answer.ok) return answer;
      return new Response(await answer.blob(), { status: answer.status, headers: answer.headers });
    } catch (cause) {
      if (signal?.aborted) throw signal.reason;
      if (late.signal.aborted) throw new VisavisError("timeout", `no answer within ${this.#timeout} ms`, { cause });
      throw new VisavisError("unreachable", `${url.origin} cannot be reached: ${cause.message}`, { cause });
    } finally {
      clearTimeout(timer);
    }
  }
}

/** A gallery of a server. */
export class Gallery {
  #client; #path;

  constructor(client, name) {
    this.name = name;
    this.#client = client;
    this.#path = `v1/galleries/${segment(name)}`;
  }

  async show({ signal } = {}) { return this.#client.json("GET", this.#path, { signal }); }

  async setPolicy(policy, { signal } = {}) {
    return this.#client.json("PATCH", this.#path, { json: { policy }, signal });
  }

  async forget({ signal } = {}) { return this.#client.json("DELETE", this.#path, { signal, once: true }); }
  async audit({ signal } = {}) { return this.#client.json("GET", `${this.#path}/audit`, { signal }); }
  async rules({ signal } = {}) { return this.#client.json("GET", `${this.#path}/rules`, { signal }); }

  log({ signal, ...query } = {}) {
    return this.#client.pages("GET", `${this.#path}/log`, "entries", { query, signal });
  }

  async enrol(images, { signal, idempotencyKey = made(), like, ...options } = {}) {
    const sent = await body({ images: [images].flat(), ...(like && { like }) }, options);
    return this.#enrol(sent, idempotencyKey, signal);
  }

  async enrolEmbeddings(embeddings, { signal, idempotencyKey = made(), ...options } = {}) {
    return this.#enrol({ json: { embeddings: numbers(embeddings), ...options } }, idempotencyKey, signal);
  }

  async #enrol(sent, idempotencyKey, signal) {
    const headers = { "Idempotency-Key": idempotencyKey };
    return enrolment(await this.#client.json("POST", `${this.#path}/enrol`, { ...sent, headers, signal }));
  }

  async identify(image, options) { return only(await this.identifyMany([image], options)); }
  async identifyMany(images, options) { return askImages(this.#client, `${this.#path}/identify`, images, options); }

  async identifyEmbeddings(embeddings, { signal, ...options } = {}) {
    const results = [];
    for (const some of chunks(numbers(embeddings), MOST_PROBES)) {
      const request = { json: { embeddings: some, ...options }, signal };
      const answer = await this.#client.json("POST", `${this.#path}/identify`, request);
      results.push(...answer.results.map((result) => result.error ? problem(result.error) : result.faces[0]));
    }
    return results;
  }

  async verify(image, subject, { signal, ...options } = {}) {
    return this.#client.json("POST", this.#subject(subject, "verify"), { ...await body({ image }, options), signal });
  }

  async verifyEmbedding(embedding, subject, { signal, ...options } = {}) {
    const json = { embedding: Array.from(embedding), ...options };
    return this.#client.json("POST", this.#subject(subject, "verify"), { json, signal });
  }

  allSamples({ signal } = {}) { return this.#client.pages("GET", `${this.#path}/samples`, "samples", { signal }); }
  async sample(sample, { signal } = {}) {
    return this.#client.json("GET", `${this.#path}/samples/${segment(String(sample))}`, { signal });
  }

  subjects({ signal } = {}) { return this.#client.pages("GET", `${this.#path}/subjects`, "subjects", { signal }); }

  searchSubjects(text, { signal } = {}) {
    return this.#client.pages("POST", `${this.#path}/search`, "subjects", { json: { text }, signal });
  }

  async similar(subject, { signal } = {}) {
    return (await this.#client.json("GET", this.#subject(subject, "similar"), { signal })).candidates;
  }

  async subject(subject, { signal } = {}) { return this.#client.json("GET", this.#subject(subject), { signal }); }

  async addSubject(subject, { signal, ...details } = {}) {
    const json = { id: subject, ...details };
    return this.#client.json("POST", `${this.#path}/subjects`, { json, signal, once: true });
  }

  async update(subject, changes, { signal, version } = {}) {
    const once = version !== undefined || changes.id !== undefined;
    const request = { json: changes, headers: matching(version), signal, once };
    return this.#client.json("PATCH", this.#subject(subject), request);
  }

  async forgetSubject(subject, { signal, version } = {}) {
    return this.#client.json("DELETE", this.#subject(subject), { headers: matching(version), signal, once: true });
  }

  async merge(subject, into, { signal } = {}) {
    return this.#client.json("POST", this.#subject(subject, "merge"), { json: { into }, signal, once: true });
  }

  async move(subject, samples, into, { signal } = {}) {
    return this.#client.json("POST", this.#subject(subject, "move"), { json: { samples, into }, signal, once: true });
  }

  async split(subject, samples, { signal, ...json } = {}) {
    return this.#client.json("POST", this.#subject(subject, "split"), { json: { samples, ...json }, signal, once: true });
  }

  async exportSubject(subject, { signal } = {}) {
    return this.#client.json("GET", this.#subject(subject, "export"), { signal });
  }

  async picture(subject, sample, { signal, ...query } = {}) {
    const path = this.#subject(subject, "samples", String(sample), "picture");
    return (await this.#client.call("GET", path, { query, signal })).blob();
  }

  review({ signal, ...query } = {}) {
    return this.#client.pages("GET", `${this.#path}/review`, "groups", { query, signal });
  }

  async reviewPicture(face, { signal, ...query } = {}) {
    return (await this.#client.call("GET", `${this.#path}/review/${Number(face)}/picture`, { query, signal })).blob();
  }

  async nameFaces(faces, { signal, ...options } = {}) { return this.#review("name", { faces, ...options }, signal); }
  async ignoreFaces(faces, { signal } = {}) { return this.#review("ignore", { faces }, signal); }

  async discardFaces(faces, { signal } = {}) {
    return this.#client.json("POST", `${this.#path}/review/discard`, { json: { faces }, signal, once: true });
  }

  async #review(act, json, signal) {
    return enrolment(await this.#client.json("POST", `${this.#path}/review/${act}`, { json, signal, once: true }));
  }

  async bestPicture(subject, { signal, ...query } = {}) {
    return (await this.#client.call("GET", this.#subject(subject, "picture"), { query, signal })).blob();
  }

  async forgetSample(subject, sample, { signal } = {}) {
    const below = ["samples", segment(String(sample))];
    const path = subject === null ? [this.#path, ...below].join("/") : this.#subject(subject, ...below);
    return this.#client.json("DELETE", path, { signal, once: true });
  }

  async *export({ signal, pictures = false } = {}) {
    const request = { query: { pictures }, signal, stream: true };
    yield* linesOf(await this.#client.call("GET", `${this.#path}/export`, request));
  }

  async *import(lines, { signal, ...options } = {}) {
    let before = 0, some = [], size = 0, images = 0;
    const send = async function* () {
      const headers = { "Content-Type": "application/x-ndjson" };
      const request = { query: options, body: some.join(""), headers, signal, stream: true };
      let last; // which says whether the answer is whole
      for await (const each of linesOf(await this.#client.call("POST", `${this.#path}/import`, request))) {
        if (last) yield result(last);
        last = each;
      }
      if (!last?.done) throw problem(last?.error ?? { code: "unreachable", detail: "the answer broke off" });
      [before, some, size, images] = [before + some.length, [], 0, 0];
    }.bind(this);
    const result = ({ line, error, ...more }) =>
      ({ line: before + line, ...more, ...(error && { error: problem(error) }) });
    for await (const line of lines) {
      const told = "image" in line || "embedding" in line ? { key: made(), ...line } : line;
      const text = JSON.stringify("image" in line ? { ...told, image: await inJson(line.image) } : told) + "\n";
      const full = some.length === MOST_LINES || images === MOST_IMAGES;
      if (full || (some.length && size + text.length > MOST_LINE_BYTES)) yield* send();
      some.push(text);
      images += "image" in line;
      size += text.length;
    }
    if (some.length) yield* send();
  }

  #subject(subject, ...below) { return [this.#path, "subjects", segment(subject), ...below].join("/"); }
}

/** Return what became of each face that was to be enrolled, with its error in the place of a problem. */
function enrolment(answer) {
  const results = answer.results.map((result) => result.error ? { error: problem(result.error) } : result);
  return { ...answer, results };
}

/** Give what the lines of an answer hold, as they come. */
async function* linesOf(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  const broken = (cause) => { throw new VisavisError("unreachable", "the answer broke off", { cause }); };
  try {
    for (let rest = ""; ;) {
      const { done, value } = await reader.read().catch(broken);
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      yield* lines.filter(Boolean).map((line) => JSON.parse(line));
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** Send images, as many at a time as a call may have; give for each, in order, its faces or its error. */
async function askImages(client, path, images, { signal, ...options } = {}) {
  const results = [];
  for (const some of chunks(images, MOST_IMAGES, MOST_BYTES)) {
    const answer = await client.json("POST", path, { ...await body({ images: some }, options), signal });
    for (const { error, faces, ...more } of answer.results) {
      // What is told of the image besides its faces stands beside them, and is not one of them.
      const told = Object.entries(more).map(([name, value]) => [name, { value }]);
      results.push(error ? problem(error) : Object.defineProperties(faces, Object.fromEntries(told)));
    }
  }
  return results;
}

/** Encode a name for a path; "." and ".." would lead elsewhere. */
function segment(name) {
  if (typeof name !== "string" || /^\.{0,2}$/.test(name)) throw new TypeError("a name is a string, not . or ..");
  return encodeURIComponent(name);
}

/** Tell whether the server is to fetch an image, or gets it in a URL. */
function isLink(image) { return typeof image === "string" || image instanceof URL; }

function blob(image) {
  if (image instanceof Blob) return image;
  if (image instanceof ArrayBuffer || ArrayBuffer.isView(image)) return new Blob([image]);
  throw new TypeError("an image is a Blob, a File, an ArrayBuffer, bytes such as a Uint8Array, or a URL");
}

async function inJson(image) {
  if (isLink(image)) {
    const url = String(image);
    if (/^https?:/i.test(url)) return { url };
    if (/^data:/i.test(url)) return { base64: url };
    throw new TypeError("a string is the URL of an image: http:, https: or data:; read files before, with fs.readFile");
  }
  const bytes = new Uint8Array(await blob(image).arrayBuffer());
  let text = "";
  for (let start = 0; start < bytes.length; start += 32_768) {
    text += String.fromCharCode(...bytes.subarray(start, start + 32_768));
  }
  return { base64: btoa(text) };
}

/** Return the body for images, listed or not, by name, with options: a form; or JSON where one is a link. */
async function body(images, options) {
  const given = Object.entries(options).filter(([, value]) => value !== undefined && value !== null);
  if (Object.values(images).flat().some(isLink)) {
    const members = Object.entries(images).map(async ([name, image]) =>
      [name, Array.isArray(image) ? await Promise.all(image.map(inJson)) : await inJson(image)]);
    return { json: Object.fromEntries([...await Promise.all(members), ...given]) };
  }
  const form = new FormData();
  for (const [name, value] of Object.entries(images)) {
    for (const image of [value].flat()) form.append(name, blob(image), "image");
  }
  for (const [name, value] of given) {
    const words = Array.isArray(value) && value.every((item) => typeof item === "string");
    form.append(name, typeof value === "string" ? value : words ? value.join() : JSON.stringify(value));
  }
  return { body: form };
}

/** Give lists of what goes together in one call; links go apart from files. */
function* chunks(items, most, mostBytes = Infinity) {
  let some = [], size = 0;
  for (const item of items) {
    const bytes = item?.size ?? item?.byteLength ?? 0;
    if (some.length && (some.length === most || size + bytes > mostBytes || isLink(some[0]) !== isLink(item))) {
      yield some;
      [some, size] = [[], 0];
    }
    some.push(item);
    size += bytes;
  }
  if (some.length) yield some;
}

function numbers(embeddings) { return Array.from(embeddings, (embedding) => Array.from(embedding)); }

/** Return the condition that a subject is as it was read. */
function matching(version) { return version && { "If-Match": `"${version.number}-${version.version}"` }; }

/** Make up an idempotency key. */
function made() { return crypto.getRandomValues(new Uint32Array(4)).join("-"); }

function only([result]) {
  if (result instanceof VisavisError) throw result;
  return result;
}

function problem({ code, detail, status, request_id: requestId, field, errors }, retryAfter = null) {
  return new VisavisError(code, detail, { status, requestId, retryAfter, field, errors });
}

async function refusal(answer) {
  const said = await answer.json().catch(() => null);
  const [asked, requestId] = ["Retry-After", "X-Request-Id"].map((name) => answer.headers.get(name));
  const seconds = /^\d+$/.test(asked ?? "") ? Number(asked) : (Date.parse(asked) - Date.now()) / 1000;
  const retryAfter = Number.isFinite(seconds) ? Math.max(0, seconds) : null;
  const { status } = answer;
  if (typeof said?.code === "string") return problem({ request_id: requestId, ...said, status }, retryAfter);
  // Somebody else gave it, such as a proxy.
  return new VisavisError("unexpected", `the server answered with status ${status}`, { status, requestId, retryAfter });
}

function pause(milliseconds, signal) {
  return new Promise((done, fail) => {
    const leave = () => { clearTimeout(timer); fail(signal.reason); };
    const timer = setTimeout(() => { signal?.removeEventListener("abort", leave); done(); }, milliseconds);
    signal?.addEventListener("abort", leave, { once: true });
  });
}
