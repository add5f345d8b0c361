"use strict";

function element(tag, attributes = {}, ...children) {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
}

function prose(text) {
  return (text || "").split("`").map((part, place) => (place % 2 ? element("code", {}, part) : part));
}

function resolve(document_, schema) {
  return schema && schema.$ref ? schema.$ref.slice(2).split("/").reduce((node, part) => node[part], document_) : schema;
}

function table(rows) {
  return element("table", {}, ...rows.map((row) => element("tr", {}, ...row.map((cell) => element("td", {}, ...cell)))));
}

function answers(operation) {
  return table(Object.entries(operation.responses).map(([status, answer]) => [status, prose(answer.description)]));
}

function schemaOf(document_, content) {
  const schema = content && content.schema;
  if (!schema || !schema.$ref) return null;
  const text = JSON.stringify(resolve(document_, schema), null, 2);
  return element("details", {}, element("summary", {}, schema.$ref.split("/").pop()), element("pre", {}, text));
}

function parameterFields(operation) {
  return (operation.parameters || []).map((parameter) => {
    const schema = parameter.schema || {};
    const value = parameter.in === "path" ? String(parameter.example ?? "") : "";
    const choices = schema.enum || (schema.type === "boolean" ? ["true", "false"] : null);
    const input = choices
      ? element("select", {}, ...["", ...choices].map((choice) => element("option", { value: choice }, choice)))
      : element("input", { value, placeholder: schema.default === undefined ? "" : String(schema.default ?? "") });
    input.size = choices ? 1 : 32;
    const hint = element("small", {}, ...prose(` ${parameter.in}. ${parameter.description || ""}`));
    return { parameter, input, label: element("label", {}, element("code", {}, parameter.name), " ", input, hint) };
  });
}

function filledIn(path, fields) {
  const headers = {};
  const query = new URLSearchParams();
  for (const { parameter, input } of fields) {
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    else if (input.value !== "" && parameter.in === "query") query.append(parameter.name, input.value);
    else if (input.value !== "") headers[parameter.name] = input.value;
  }
  return { path: `${query}` ? `${path}?${query}` : path, headers };
}

async function body(answer) {
  const kind = answer.headers.get("Content-Type") || "";
  if (kind.startsWith("image/")) return element("img", { src: URL.createObjectURL(await answer.blob()), alt: kind });
  const text = await answer.text();
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; /* no JSON, or lines of it */ }
}

async function show(output, fields, path, options) {
  const key = document.getElementById("key").value;
  const filled = filledIn(path, fields);
  options.headers = { ...options.headers, ...filled.headers, ...(key && { "X-API-Key": key }) };
  output.textContent = "…";
  try {
    const start = performance.now();
    const answer = await fetch("." + filled.path, options);
    const readable = await body(answer);
    const milliseconds = Math.round(performance.now() - start);
    const told = ["ETag", "Location"].filter((name) => answer.headers.get(name))
      .map((name) => `\n${name}: ${answer.headers.get(name)}`).join("");
    output.replaceChildren(`${answer.status} ${answer.statusText}, ${milliseconds} ms${told}\n\n`, readable);
  } catch (error) {
    output.textContent = String(error);
  }
}

function formFields(document_, form) {
  const schema = resolve(document_, form.schema);
  const isFile = (part) => part.format === "binary" || (part.items && part.items.format === "binary");
  return Object.entries(schema.properties).map(([name, part]) => {
    const input = element("input", { name, type: isFile(part) ? "file" : "text", multiple: part.type === "array" });
    return element("label", {}, `${name} `, input);
  });
}

function tryIt(document_, method, path, operation) {
  const output = element("pre");
  const fields = parameterFields(operation);
  const parts = fields.map((field) => field.label);
  const content = operation.requestBody ? operation.requestBody.content : {};
  if (content["multipart/form-data"]) {
    const form = element("form", {}, ...formFields(document_, content["multipart/form-data"]));
    form.append(element("button", {}, "Send files"));
    form.onsubmit = (event) => {
      event.preventDefault();
      const body = new FormData();
      for (const [name, value] of new FormData(form)) if (value && value.name !== "") body.append(name, value);
      show(output, fields, path, { method, body });
    };
    parts.push(form);
  }
  for (const [kind, name] of [["application/json", "JSON"], ["application/x-ndjson", "lines"]]) {
    if (!content[kind]) continue;
    const example = content[kind].example ?? {};
    const value = typeof example === "string" ? example : JSON.stringify(example, null, 2);
    const text = element("textarea", { value, spellcheck: false });
    const send = element("button", {}, `Send ${name}`);
    send.onclick = () => show(output, fields, path, { method, body: text.value, headers: { "Content-Type": kind } });
    parts.push(text, send);
  }
  if (!operation.requestBody) {
    const send = element("button", {}, "Send");
    send.onclick = () => show(output, fields, path, { method });
    parts.push(send);
  }
  return [...parts, output];
}

function describe(document_, method, path, operation) {
  const title = element("summary", {},
    element("span", { className: "method" }, method), element("code", {}, path), " ", operation.summary || "");
  const content = operation.requestBody ? operation.requestBody.content["application/json"] : null;
  const schema = schemaOf(document_, content);
  return element("details", {}, title, element("p", {}, ...prose(operation.description)), answers(operation),
    ...(schema ? [schema] : []), ...tryIt(document_, method, path, operation));
}

async function main() {
  const document_ = await (await fetch("openapi.json")).json();
  document.getElementById("title").textContent = `${document_.info.title} ${document_.info.version}`;
  document.getElementById("description").replaceChildren(...prose(document_.info.description));
  const operations = Object.entries(document_.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), operation })));
  const sections = document_.tags.map((tag) => element("section", {}, element("h2", {}, tag.name),
    element("p", {}, tag.description), ...operations.filter(({ operation }) => operation.tags.includes(tag.name))
      .map(({ path, method, operation }) => describe(document_, method, path, operation))));
  document.getElementById("operations").replaceChildren(...sections);
}

main().catch((error) => { document.getElementById("operations").textContent = String(error); });
