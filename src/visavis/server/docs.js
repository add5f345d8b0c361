"use strict";

const FORM = "multipart/form-data", IMAGE = "image/*";
const JSON_KIND = "application/json", LINES = "application/x-ndjson";
const WAYS = { [FORM]: "a form", [JSON_KIND]: "JSON", [LINES]: "lines of JSON", [IMAGE]: "an image" };
const DEEPEST = 8; // of a schema that is shown

let api; // the OpenAPI document
let number = 0; // of what has an ID

function element(tag, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}

/** Return text in which `code` is marked. */
function prose(text) {
  return (text || "").split(/`+/).map((part, place) => (place % 2 ? element("code", {}, part) : part));
}

function folded(title, ...children) { return element("details", {}, element("summary", {}, title), ...children); }

// --- schemas

function resolved(schema) {
  return schema && schema.$ref ? schema.$ref.slice(2).split("/").reduce((node, part) => node[part], api) : schema || {};
}

function nameOf(schema) { return schema && schema.$ref ? schema.$ref.split("/").pop() : ""; }

/** Return the type of a schema in few words. */
function typeOf(schema) {
  if (nameOf(schema)) return nameOf(schema);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  const kinds = schema.anyOf || schema.oneOf;
  if (kinds && !schema.properties) return [...new Set(kinds.map(typeOf))].join(" | ");
  if (schema.type === "array") return `list of ${typeOf(schema.items || (schema.prefixItems || [])[0] || {})}`;
  return schema.title && schema.type === "object" ? `{${schema.title}}` : [schema.type || "any"].flat().join(" | ");
}

/** Return the schemas of objects that a schema leads to. */
function objectsIn(schema, depth = 0) {
  const whole = resolved(schema);
  if (whole.properties) return [whole];
  const further = [whole.items, ...(whole.prefixItems || []), ...(whole.anyOf || []), ...(whole.oneOf || [])];
  return depth > DEEPEST ? [] : further.filter(Boolean).flatMap((each) => objectsIn(each, depth + 1));
}

function limits(schema) {
  const signs = { minimum: "≥", exclusiveMinimum: ">", maximum: "≤", exclusiveMaximum: "<" };
  const told = Object.keys(signs).filter((name) => name in schema).map((name) => `${signs[name]} ${schema[name]}`);
  if (schema.maxItems) told.push(`at most ${schema.maxItems}`);
  if (schema.default !== undefined && schema.default !== null) told.push(`default ${JSON.stringify(schema.default)}`);
  return told.length ? ` (${told.join(", ")})` : "";
}

/** Return the members of the objects that a schema leads to. */
function members(schema, depth = 0) {
  const objects = objectsIn(schema);
  if (!objects.length || depth > DEEPEST) return "";
  const lists = objects.map((object) => element("ul", {}, ...Object.entries(object.properties).map(([name, member]) => {
    const needed = (object.required || []).includes(name) ? "" : "?";
    const line = [element("code", {}, name + needed), " ", element("i", {}, typeOf(member) + limits(member)), " ",
      ...prose(member.description)];
    const below = members(member, depth + 1);
    return element("li", {}, ...(below ? [element("details", {}, element("summary", {}, ...line), below)] : line));
  })));
  return element("div", {}, ...lists);
}

/** Return JSON for people: lists of numbers take one line. */
function pretty(value) {
  if (typeof value === "string") return value;
  return JSON.stringify(value, null, 2).replace(/\[[\s\d.,eE+-]+\]/g, (list) => list.replace(/\s+/g, " "));
}

/** Show what an operation answers: an example, what its members mean, and what may go wrong. */
function answers(operation) {
  const parts = [];
  for (const [status, answer] of Object.entries(operation.responses)) {
    if (status >= "300") continue;
    const told = answer.description === "Successful Response" ? "" : answer.description; // which FastAPI says
    parts.push(element("p", {}, element("b", {}, status), " ", ...prose(told)));
    for (const content of Object.values(answer.content || {})) {
      if (content.example) parts.push(element("pre", { className: "example" }, pretty(content.example)));
      const told = members(content.schema);
      if (told) parts.push(folded(`What the members of ${nameOf(content.schema) || "the answer"} mean`, told));
    }
  }
  const refusals = Object.entries(operation.responses).filter(([status]) => status >= "300");
  const rows = refusals.map(([status, answer]) =>
    element("tr", {}, element("td", {}, status), element("td", {}, ...prose(answer.description))));
  return [...parts, folded("What else may be answered", element("table", {}, ...rows))];
}

// --- fields

/** Return the choices that a schema leaves: those of one, or of a list that is sent as words with commas. */
function choicesOf(schema, json) {
  const found = schema.enum || (schema.type === "boolean" || (schema.pattern || "").includes("[Tt][Rr][Uu][Ee]")
    ? ["true", "false"] : (((json || {}).anyOf || []).find((kind) => kind.enum) || {}).enum);
  return (found || []).filter((choice) => choice !== "" && choice !== null);
}

/** Return a labelled field; `where` it goes is path, query, header, form or file. */
function fieldOf(name, where, schema, { text, needed = false, value = "", json } = {}) {
  const id = `field-${number += 1}`, choices = choicesOf(schema, json);
  const words = json && json.type === "array" && json.items && json.items.enum;
  const file = where === "file", several = schema.type === "array" || Boolean(words);
  const given = schema.default ?? (json || {}).default;
  let input;
  if (words || (choices.length && !(json && json.anyOf && json.anyOf.some((kind) => kind.type === "number")))) {
    const none = several ? [] : [element("option", { value: "" }, (given ?? "") === "" ? "" : `(${given})`)];
    input = element("select", { id, multiple: several },
      ...none, ...(words || choices).map((choice) => element("option", { value: choice }, choice)));
  } else {
    input = element("input", { id, type: file ? "file" : "text", multiple: file && several, value: file ? "" : value,
      placeholder: given === undefined || given === null ? choices.join(" | ") : String(given) });
  }
  input.required = needed;
  const error = element("span", { className: "error", id: `${id}-error` });
  const hint = element("small", {}, ...prose(text));
  input.setAttribute("aria-describedby", error.id);
  const label = element("label", { htmlFor: id }, element("code", {}, name), needed ? " *" : "");
  const values = () => {
    if (file) return [...input.files];
    if (several) return [[...input.selectedOptions].map((each) => each.value).join()].filter(Boolean);
    return input.value === "" ? [] : [input.value];
  };
  return { name, where, input, error, values, row: element("div", { className: "field" }, label, input, hint, error) };
}

function parameterField(parameter) {
  const where = parameter.in;
  const examples = parameter.examples || (parameter.schema || {}).examples || [];
  const value = where === "path" ? String(parameter.example ?? Object.values(examples)[0] ?? "") : "";
  const more = { text: parameter.description, needed: where === "path", value };
  return fieldOf(parameter.name, where, parameter.schema || {}, more);
}

function formFields(operation) {
  const { content } = operation.requestBody, form = resolved(content[FORM].schema);
  const json = resolved((content[JSON_KIND] || {}).schema).properties || {};
  return Object.entries(form.properties).map(([name, part]) => {
    const file = part.format === "binary" || (part.items && part.items.format === "binary");
    const needed = file && (form.required || []).includes(name);
    return fieldOf(name, file ? "file" : "form", part, { text: part.description, needed, json: json[name] });
  });
}

// --- calls

function quoted(text) { return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`; }

/** Return the call that is filled in: its URL, what fetch takes, and the same for curl. */
function callOf(method, path, fields, kind, text) {
  const headers = {}, query = new URLSearchParams(), form = new FormData(), parts = [];
  let body;
  for (const { name, where, values, input } of fields) {
    if (kind === FORM && where === "file" && input.required && !input.files.length) parts.push("-F", `${name}=@FILE`);
    for (const value of values()) {
      if (where === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
      else if (where === "query") query.append(name, value);
      else if (where === "header") headers[name] = value;
      else if (kind === IMAGE) body = value;
      else {
        form.append(name, value);
        const plain = where === "file" || !/^[@<]|;type=/.test(value);
        parts.push(plain ? "-F" : "--form-string", where === "file" ? `${name}=@${value.name}` : `${name}=${value}`);
      }
    }
  }
  if (kind === FORM) body = form;
  else if (kind === IMAGE) headers["Content-Type"] = (body && body.type) || "image/jpeg";
  else if (kind) [body, headers["Content-Type"]] = [text, kind];
  const address = `${path}${query.size ? `?${query}` : ""}`;
  const curl = ["curl"];
  if (method !== (kind ? "POST" : "GET")) curl.push("-X", method);
  const key = document.getElementById("key").value;
  const shown = Object.entries(headers).flatMap(([name, value]) => ["-H", quoted(`${name}: ${value}`)]);
  curl.push(...(key ? ["-H", '"X-API-Key: $VISAVIS_KEY"'] : []), ...shown, ...parts.map(quoted));
  if (kind === IMAGE) curl.push("--data-binary", quoted(`@${body ? body.name : "FILE"}`));
  else if (kind && kind !== FORM) curl.push("--data-binary", quoted(text));
  curl.push(quoted(new URL(`.${address}`, document.baseURI).href));
  if (key) headers["X-API-Key"] = key;
  return { address, curl: curl.join(" "), options: { method, body, headers } };
}

async function readable(answer) {
  const kind = answer.headers.get("Content-Type") || "";
  if (kind.startsWith("image/")) return element("img", { src: URL.createObjectURL(await answer.blob()), alt: kind });
  const text = await answer.text();
  try { return pretty(JSON.parse(text)); } catch { return text; /* no JSON, or lines of it */ }
}

/** Make a call and show the answer; what was wrong stands by the field that it is about, and below the form. */
async function send({ address, options }, fields, output, failure) {
  for (const { input, error } of fields) {
    input.removeAttribute("aria-invalid");
    error.textContent = "";
  }
  failure.textContent = "";
  output.replaceChildren("…");
  try {
    const start = performance.now();
    const answer = await fetch(`.${address}`, options);
    const told = await readable(answer);
    const milliseconds = Math.round(performance.now() - start);
    const headers = ["ETag", "Location", "Retry-After"].filter((name) => answer.headers.get(name))
      .map((name) => `\n${name}: ${answer.headers.get(name)}`).join("");
    output.replaceChildren(`${answer.status} ${answer.statusText}, ${milliseconds} ms${headers}\n\n`, told);
    if (!answer.ok) explain(typeof told === "string" ? told : "", fields, failure, answer.status);
  } catch (error) {
    output.replaceChildren();
    failure.textContent = `No answer: ${error.message}`;
  }
}

function explain(text, fields, failure, status) {
  let problem = {};
  try { problem = JSON.parse(text); } catch { /* somebody else's answer */ }
  failure.textContent = problem.detail || `The server answered with status ${status}.`;
  for (const { field, message } of [...(problem.errors || []), { field: problem.field, message: problem.detail }]) {
    const place = fields.find(({ name, error }) => field && name === field.split(".")[0] && !error.textContent);
    if (!place) continue;
    place.input.setAttribute("aria-invalid", "true");
    place.error.textContent = message;
  }
}

/** Return the form of a call in one of the ways in which its body may be sent. */
function callForm(method, path, operation, kind) {
  const content = operation.requestBody ? operation.requestBody.content : {};
  const inBody = content[FORM] ? Object.keys(resolved(content[FORM].schema).properties) : [];
  const parameters = (operation.parameters || []).filter((each) => kind === IMAGE || !inBody.includes(each.name));
  const fields = parameters.map((parameter) => parameterField(parameter));
  if (kind === FORM) fields.push(...formFields(operation));
  if (kind === IMAGE) fields.push(fieldOf("image", "file", {}, { text: "The body.", needed: true }));
  const parts = fields.map(({ row }) => row);
  let text = null;
  if (kind && kind !== FORM && kind !== IMAGE) {
    const value = pretty(content[kind].example ?? {});
    text = element("textarea", { value, rows: value.split("\n").length + 1, spellcheck: false, ariaLabel: WAYS[kind] });
    const told = members(content[kind].schema);
    parts.push(text, ...(told ? [folded("What may be in it", told)] : []));
  }
  const curl = element("pre", { className: "curl" });
  const output = element("pre", { className: "answer", ariaLive: "polite" });
  const failure = element("p", { className: "error" });
  failure.setAttribute("role", "alert");
  const copy = element("button", { type: "button" }, "Copy curl");
  copy.onclick = async () => { await navigator.clipboard.writeText(curl.textContent); copy.textContent = "Copied"; };
  const call = () => callOf(method, path, fields, kind, text && text.value);
  const update = () => { curl.textContent = call().curl; copy.textContent = "Copy curl"; };
  const form = element("form", { noValidate: true }, ...parts,
    element("p", {}, element("button", {}, "Send"), " ", copy), failure, curl, output);
  form.addEventListener("input", update);
  document.getElementById("key").addEventListener("input", update);
  form.onsubmit = (event) => { event.preventDefault(); update(); send(call(), fields, output, failure); };
  update();
  return form;
}

function tryIt(method, path, operation) {
  const kinds = Object.keys(operation.requestBody ? operation.requestBody.content : {})
    .sort((a, b) => Object.keys(WAYS).indexOf(a) - Object.keys(WAYS).indexOf(b));
  if (kinds.length < 2) return [callForm(method, path, operation, kinds[0])];
  const place = element("div", {}, callForm(method, path, operation, kinds[0]));
  const name = `way-${number += 1}`;
  const ways = kinds.map((kind, at) => {
    const input = element("input", { type: "radio", name, checked: at === 0 });
    input.onchange = () => place.replaceChildren(callForm(method, path, operation, kind));
    return element("label", {}, input, ` ${WAYS[kind] || kind}`);
  });
  return [element("fieldset", { className: "ways" }, element("legend", {}, "Send"), ...ways), place];
}

// --- the page

function describe({ path, method, operation }) {
  const title = element("summary", {},
    element("span", { className: "method" }, method), element("code", {}, path), " ", operation.summary || "");
  const part = element("details", { id: operation.operationId }, title);
  part.addEventListener("toggle", () => { // made when it is wanted: there are many
    if (!part.open || part.children.length > 1) return;
    part.append(element("p", {}, ...prose(operation.description)), ...tryIt(method, path, operation),
      element("h3", {}, "Answer"), ...answers(operation));
  });
  return part;
}

function openNamed() {
  const part = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (part && part.tagName === "DETAILS") { part.open = true; part.scrollIntoView(); }
}

async function main() {
  api = await (await fetch("openapi.json")).json();
  document.getElementById("title").textContent = `${api.info.title} ${api.info.version}`;
  document.getElementById("description").replaceChildren(
    ...api.info.description.split("\n\n").map((text) => element("p", {}, ...prose(text))));
  const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })));
  const sections = api.tags.map((tag) => element("section", {}, element("h2", {}, tag.name),
    element("p", {}, tag.description),
    ...operations.filter(({ operation }) => operation.tags.includes(tag.name)).map(describe)));
  document.getElementById("operations").replaceChildren(...sections);
  addEventListener("hashchange", openNamed);
  openNamed();
}

main().catch((error) => { document.getElementById("operations").textContent = String(error); });
