// Every call of the API against a running server, which VISAVIS_URL, VISAVIS_KEY (admin) and two portraits name; and
// how the client behaves where a server, made here, is busy, slow, foreign or gone. Run by tests/client.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { Client, Gallery, VisavisError } from "../index.js";

const { VISAVIS_URL: url, VISAVIS_KEY: key, ASTRONAUT, HOPPER } = process.env;
const called = new Set();
const recording = (target, options) => {
  called.add(`${options.method} ${new URL(target).pathname}`);
  return fetch(target, options);
};
const client = new Client(url, { key, fetch: recording });
const [astronaut, hopper] = await Promise.all([ASTRONAUT, HOPPER].map((path) => readFile(path)));
const grey = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

/** Serve answers, one after the other, the last one again and again; each is what a request handler does. */
async function serving(...answers) {
  const requests = [];
  const server = createServer(async (request, response) => {
    const parts = [];
    for await (const part of request) parts.push(part);
    requests.push({ method: request.method, url: request.url, headers: request.headers, body: Buffer.concat(parts) });
    (answers.length > 1 ? answers.shift() : answers[0])(response);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const close = () => { server.closeAllConnections(); server.close(); };
  return { url: `http://127.0.0.1:${server.address().port}`, requests, close };
}
const send = (status, body, headers = {}) => (response) => {
  response.writeHead(status, { "Content-Type": "application/json", ...headers });
  response.end(typeof body === "string" ? body : JSON.stringify(body));
};
const refuse = (status, code, headers) =>
  send(status, { code, detail: "why", status, request_id: "r1", field: "a", errors: [] }, headers);
const photo = (response) => { response.writeHead(200, { "Content-Type": "image/png" }); response.end(astronaut); };
const listed = async (items) => { const all = []; for await (const item of items) all.push(item); return all; };
const code = (expected, more = {}) => (error) => {
  assert.ok(error instanceof VisavisError && error instanceof Error, String(error.stack));
  assert.deepEqual({ code: error.code, ...Object.fromEntries(Object.keys(more).map((name) => [name, error[name]])) },
    { code: expected, ...more });
  return true;
};

let elsewhere;
before(async () => { elsewhere = await serving(photo); });
after(() => elsewhere.close());

test("every form of an image gives the same", async () => {
  const bytes = new Uint8Array(astronaut);
  const encoded = `data:image/png;base64,${astronaut.toString("base64")}`;
  const forms = [astronaut, bytes, bytes.buffer, new Blob([bytes]), new File([bytes], "a.png"), new DataView(bytes.buffer),
    `${elsewhere.url}/a.png`, new URL(`${elsewhere.url}/a.png`), encoded];
  const [first, ...others] = await client.detectMany(forms);
  assert.equal(first.length, 1);
  for (const other of others) assert.deepEqual(other, first);
  await assert.rejects(client.detect("a.png"), TypeError);
  await assert.rejects(client.detect(1), TypeError);
});

test("detect and embed, one and many, with options in forms and in JSON", async () => {
  for (const image of [astronaut, `${elsewhere.url}/a.png`]) {
    const [face] = await client.embed(image, { quality: true, faces: "largest", min_face: 0.2, attributes: [] });
    assert.equal(face.embedding.length, 128);
    assert.ok(face.quality.face_px > 50);
  }
  const many = await client.embedMany([...Array(16).fill(grey), astronaut, new Blob(["?"])]); // several calls
  assert.deepEqual(many.slice(0, 17).map((faces) => faces.length), [...Array(16).fill(0), 1]);
  code("unsupported_format", { status: 415 })(many[17]);
  await assert.rejects(client.detect(new Blob([])), code("unsupported_format"));
  assert.deepEqual(await client.detectMany([]), []);
  const faces = await client.detect(astronaut, { min_face: 0.2 });
  assert.ok(faces.searched_from_px > 100 && !Object.keys(faces).includes("searched_from_px"));
});

test("verify", async () => {
  const same = await client.verify(astronaut, `${elsewhere.url}/a.png`, { fmr: "strict" });
  assert.deepEqual([same.same, same.decision, same.pack], [true, "same", "dlib"]);
  assert.equal((await client.verify(astronaut, hopper, { threshold: 0.1 })).threshold, 0.1);
  await assert.rejects(client.verify(astronaut, grey), code("no_face", { status: 422, field: "b" }));
  await assert.rejects(client.verify(astronaut, hopper, { treshold: 1 }), code("invalid_request", { field: "treshold" }));
});

test("compare", async () => {
  const [[a], [b]] = await Promise.all([client.embed(astronaut), client.embed(hopper)]);
  const told = await client.compareMany([[a.embedding, b.embedding], [a.embedding, [1, 2]]], { threshold: 0.1 });
  assert.deepEqual([told[0].same, told[0].threshold, told[1].code], [false, 0.1, "invalid_embedding"]);
  assert.ok((await client.compare(new Float32Array(a.embedding), a.embedding)).same);
});

test("a gallery, from its first person to the last", async () => {
  const team = await client.createGallery("team-js", { policy: { keep: "chips" } });
  assert.ok(team instanceof Gallery);
  await assert.rejects(client.createGallery("team-js"), code("gallery_exists", { status: 409 }));
  assert.ok((await client.galleries()).some(({ name }) => name === "team-js"));

  const ada = "Ada Lovelace é ?#%";
  const known = { subject: ada, name: "Ada", metadata: { "crew": ["STS-63"] }, consent: "signed", idempotencyKey: "k" };
  const enrolled = await team.enrol([astronaut, new Blob(["?"])], known);
  assert.deepEqual([enrolled.subject.id, enrolled.subject.metadata], [ada, known.metadata]);
  code("unsupported_format")(enrolled.results[1].error);
  assert.equal((await team.enrol([astronaut, new Blob(["?"])], known)).results[0].repeated, true);
  await assert.rejects(team.enrol(grey, { subject: "nobody" }), (error) =>
    code("no_face", { status: 422 })(error) && error.errors[0].field === "images.0");
  const [{ embedding }] = await client.embed(hopper);
  await team.enrolEmbeddings([Float32Array.from(embedding)], { subject: "grace" });

  const [found] = await team.identify(astronaut, { limit: 1, threshold: 0.5 });
  assert.equal(found.match.subject, ada);
  assert.deepEqual((await team.identifyMany([grey, hopper])).map((faces) => faces.map((face) => face.match.subject)),
    [[], ["grace"]]);
  assert.equal((await team.identifyEmbeddings([embedding]))[0].match.subject, "grace");
  code("invalid_embedding")((await team.identifyEmbeddings([[1]]))[0]);
  assert.equal((await team.verify(astronaut, ada, { fmr: "strict" })).decision, "same");
  assert.equal((await team.verifyEmbedding(embedding, "grace")).same, true);
  await assert.rejects(team.verify(astronaut, "nobody"), code("subject_not_found", { status: 404 }));

  const read = await team.subject(ada);
  assert.equal((await team.picture(ada, read.sample_list[0].id)).type, "image/png");
  const changed = await team.update(ada, { name: null, id: "ada" }, { version: read });
  assert.deepEqual([changed.id, changed.name], ["ada", null]);
  await assert.rejects(team.update("ada", { name: "Late" }, { version: read }), code("version_mismatch", { status: 412 }));
  await assert.rejects(team.forgetSubject("ada", { version: read }), code("version_mismatch"));
  assert.deepEqual((await listed(team.subjects())).map(({ id }) => id), ["ada", "grace"]);
  assert.equal((await team.exportSubject("ada")).sample_list[0].embedding.length, 128);

  const lines = await listed(team.export({ pictures: true }));
  assert.equal(lines.length, 3);
  const copy = await client.getOrCreateGallery("copy-js", { policy: { keep: "chips" } });
  assert.equal((await client.getOrCreateGallery("copy-js")).name, "copy-js");
  const bad = [{ subject: "ada", image: grey }, { subject: "eileen", image: astronaut }];
  const imported = await listed(copy.import([...lines, ...bad], { allow_conflict: true }));
  assert.deepEqual(imported.map(({ line, error }) => [line, error?.code ?? null]),
    [[2, null], [3, null], [4, "no_face"], [5, null]]);
  const late = await listed(copy.import([...Array(500).fill(lines[0]), { subject: "y", embedding: [1] }])); // in two calls
  assert.deepEqual(late.map(({ line, error }) => [line, error.code]), [[501, "invalid_embedding"]]);

  assert.equal((await copy.move("grace", [(await copy.subject("grace")).sample_list[0].id], "ada")).samples, 2);
  assert.equal((await copy.merge("grace", "ada")).id, "ada");
  assert.equal((await copy.addSubject("joan", { name: "Joan" })).name, "Joan");
  assert.equal((await copy.forgetSubject("joan")).samples, 0);
  const [first] = (await copy.subject("eileen")).sample_list;
  assert.equal((await copy.split("eileen", [first.id], { into: "collins", name: "Eileen" })).name, "Eileen");
  assert.equal((await copy.merge("collins", "eileen")).samples, 1);
  const [sample] = (await copy.subject("eileen")).sample_list;
  assert.equal((await copy.forgetSample("eileen", sample.id)).samples, 1);
  assert.equal((await copy.forgetSubject("eileen")).samples, 0);
  assert.deepEqual((await listed(copy.searchSubjects("ADA"))).map(({ id }) => id), ["ada"]);
  assert.deepEqual(await copy.similar("ada"), []);
  assert.ok((await copy.bestPicture("ada", { side: 40 })).type.startsWith("image/"));
  const group = await copy.enrol(astronaut, { subject: "like", like: `${elsewhere.url}/a.png`, allow_conflict: true });
  assert.equal(group.results.length, 1);
  const like = await copy.sample(group.results[0].sample);
  assert.deepEqual((await listed(copy.allSamples())).at(-1), like);
  assert.deepEqual([like.subject, (await copy.forgetSample(null, like.id)).samples], ["like", 1]);
  assert.equal((await copy.forgetSubject("like")).samples, 0);
  assert.equal((await copy.audit()).subjects, 1);
  assert.equal((await copy.setPolicy({ retention_days: 3 })).policy.retention_days, 3);
  assert.equal((await copy.show()).subjects, 1);
  assert.equal((await copy.rules()).subjects, 1);
  const [entries, newest] = [await listed(copy.log()), await listed(copy.log({ newest_first: true }))];
  assert.deepEqual(newest.reverse(), entries);
  assert.equal((await copy.forget()).samples, 2);
  await assert.rejects(copy.show(), code("gallery_not_found", { status: 404 }));
  assert.ok((await listed(client.log())).length > 5);

  const queue = await client.createGallery("queue-js", { policy: { review_days: 1 } });
  await queue.identifyMany([astronaut, hopper]);
  const waiting = (await listed(queue.review({ tolerance: 0.1 }))).map(({ faces: [face] }) => face.number);
  assert.equal(waiting.length, 2);
  assert.equal((await queue.reviewPicture(waiting[0])).type, "image/png");
  const named = await queue.nameFaces([waiting[0], 10 ** 6], { subject: "ada", name: "Ada" });
  assert.equal(named.subject.name, "Ada");
  code("sample_not_found")(named.results[1].error);
  await assert.rejects(queue.ignoreFaces([waiting[0]]), code("sample_not_found"));
  assert.equal((await queue.discardFaces([waiting[1]])).samples, 1);
  assert.deepEqual(await listed(queue.review()), []);
  for (const name of ["", ".", ".."]) assert.throws(() => client.gallery(name), TypeError);
});

test("what else a server tells", async () => {
  assert.equal((await client.models()).default, "dlib");
  assert.equal((await client.access()).scope, "admin");
  assert.ok((await client.doctor()).checks.length > 3);
  assert.ok((await client.preview(hopper, { side: 64 })).jpeg.length > 100);
  assert.match(await client.metrics(), /visavis_requests_total/);
  assert.deepEqual([await client.alive(), await client.ready()], [true, true]);
  await assert.rejects(new Client(url, { key: "wrong" }).models(), (error) =>
    code("unauthorized", { status: 401 })(error) && error.requestId.length > 0 && error.message.includes("not valid"));
  await assert.rejects(client.json("GET", "v1/nowhere"), code("not_found", { status: 404 }));
});

test("no call of the API is left out", async () => {
  const { paths } = await client.json("GET", "openapi.json");
  const missing = [];
  for (const [path, operations] of Object.entries(paths)) {
    const pattern = path.replaceAll(/\{\w+\}/g, "[^/]+");
    for (const [method, { tags }] of Object.entries(operations)) {
      const wanted = new RegExp(`^${method.toUpperCase()} ${pattern}$`);
      if (!tags.includes("old services") && ![...called].some((each) => wanted.test(each))) missing.push(`${method} ${path}`);
    }
  }
  assert.deepEqual(missing, []);
});

test("a busy server is asked again, when it says so", async (context) => {
  const busy = [refuse(503, "overloaded", { "Retry-After": "0" }), refuse(429, "rate_limited", { "Retry-After": "0" })];
  const server = await serving(...busy, send(200, { results: [{ faces: [] }] }));
  context.after(server.close);
  assert.deepEqual(await new Client(server.url).detect(astronaut), []);
  assert.equal(server.requests.length, 3);
  assert.ok(server.requests.every(({ body }) => body.includes(astronaut))); // the whole of it, each time

  const always = await serving(refuse(503, "overloaded", { "Retry-After": "0" }));
  context.after(always.close);
  const patient = new Client(always.url, { retries: 1 });
  await assert.rejects(patient.gallery("a").forget(), code("overloaded", { status: 503, retryAfter: 0, requestId: "r1" }));
  assert.equal(always.requests.length, 2);
  await assert.rejects(patient.gallery("a").enrol(astronaut), code("overloaded"));
  const keys = always.requests.slice(2).map(({ headers }) => headers["idempotency-key"]);
  assert.ok(keys.length === 2 && keys[0] === keys[1] && keys[0].length > 20);

  const long = await serving(refuse(503, "overloaded", { "Retry-After": "3600" }));
  context.after(long.close);
  await assert.rejects(new Client(long.url).models(), code("overloaded", { retryAfter: 3600 }));
  assert.equal(long.requests.length, 1);
});

test("what may be done already is not done twice", async (context) => {
  const cut = await serving((response) => response.destroy());
  context.after(cut.close);
  const gallery = new Client(cut.url, { retries: 1 }).gallery("a");
  for (const [call, times] of [
    [() => gallery.show(), 2], [() => gallery.enrol(astronaut), 2], [() => gallery.update("s", { name: "x" }), 2],
    [() => gallery.forget(), 1], [() => gallery.merge("a", "b"), 1], [() => gallery.update("s", { id: "t" }), 1],
  ]) {
    const before = cut.requests.length;
    await assert.rejects(call(), code("unreachable", { status: 0 }));
    assert.equal(cut.requests.length - before, times);
  }
  let tries = 0;
  const counting = (...options) => { tries += 1; return fetch(...options); };
  cut.close();
  await assert.rejects(new Client(cut.url, { retries: 1, fetch: counting }).gallery("a").forget(), code("unreachable"));
  assert.equal(tries, 2); // nobody was there
});

test("whoever does not answer, or is no server of visavis", async (context) => {
  const silent = await serving(() => {});
  context.after(silent.close);
  await assert.rejects(new Client(silent.url, { timeout: 50 }).models(), code("timeout", { status: 0 }));
  const begun = await serving((response) => { response.writeHead(200, {}); response.write("{"); });
  context.after(begun.close);
  await assert.rejects(new Client(begun.url, { timeout: 50 }).models(), code("timeout"));
  await assert.rejects(client.models({ signal: AbortSignal.abort("enough") }), (reason) => reason === "enough");
  const leaving = new AbortController();
  const busy = await serving(refuse(503, "overloaded", { "Retry-After": "20" }));
  context.after(busy.close);
  const waiting = new Client(busy.url).models({ signal: leaving.signal });
  setTimeout(() => leaving.abort("gone"), 50);
  await assert.rejects(waiting, (reason) => reason === "gone");

  for (const [answer, status] of [[send(502, "<html>"), 502], [send(200, "<html>"), 200], [send(500, "[1]"), 500]]) {
    const foreign = await serving(answer);
    context.after(foreign.close);
    await assert.rejects(new Client(foreign.url).models(), code("unexpected", { status }));
  }
  for (const bad of ["ftp://a", "nothing", "http://user@a"]) assert.throws(() => new Client(bad), TypeError);
  for (const bad of [{ timeout: 0 }, { timeout: NaN }, { retries: -1 }, { retries: 1.5 }]) {
    assert.throws(() => new Client(url, bad), RangeError);
  }
});

test("an import or an export that breaks off", async (context) => {
  const head = { "Content-Type": "application/x-ndjson" };
  const half = await serving(send(200, '{"line":1,"sample":1}\n{"done":false,"error":{"code":"rate_limited","detail":"d"}}\n', head));
  context.after(half.close);
  const results = new Client(half.url).gallery("a").import([{ subject: "a", embedding: [1] }]);
  assert.equal((await results.next()).value.sample, 1);
  await assert.rejects(results.next(), code("rate_limited"));
  const cut = await serving((response) => {
    response.writeHead(200, head);
    response.write('{"a":"\u00e9"}\n{"b"', () => setImmediate(() => response.destroy()));
  });
  context.after(cut.close);
  const lines = new Client(cut.url).gallery("a").export();
  assert.deepEqual((await lines.next()).value, { a: "é" });
  await assert.rejects(lines.next(), code("unreachable"));
});
