// Try the API: an image, the options, what comes back, and the same call as code.

import { html, useEffect, useState } from "./vendor/htm-preact.js";
import { body, call, get, key } from "./api.js";
import { Busy, Chip, Drop, Notice, Photo, announce, useCall, usePhoto } from "./parts.js";
import { number, t } from "./texts.js";

const LONG = 48; // characters of a text that the JSON shows
const FLAGS = ["quality", "chips"];

/** JSON to be read: long texts, and long lists of numbers, are cut. */
function shown(value) {
  return JSON.stringify(value, (_, each) => {
    if (typeof each === "string" && each.length > LONG) return `${each.slice(0, LONG)}… (${each.length})`;
    if (Array.isArray(each) && each.length > 16 && typeof each[0] === "number") return [...each.slice(0, 8), `… (${each.length})`];
    return each;
  }, 2).replace(/\[\s+(-?[\d.e-]+(?:,\s+-?[\d.e-]+)*)\s+\]/g, (_, numbers) => `[${numbers.replace(/\s+/g, " ")}]`);
}

function codes({ what, flags, attributes, faces, source }) {
  const server = new URL("../", location.href.replace(/[?#].*/, "")).href.replace(/\/$/, "");
  const keyed = Boolean(key.get());
  const name = source && source.file ? source.file.name || "photo.jpg" : "photo.jpg";
  const file = name.replace(/[^\w.-]/g, "_");
  const fields = [["faces", faces], ...flags.map((each) => [each, "true"]), ...(attributes.length ? [["attributes", attributes.join(",")]] : [])];
  const python = [`faces="${faces}"`, ...flags.map((each) => `${each}=True`), ...(attributes.length ? [`attributes=[${attributes.map((each) => `"${each}"`).join(", ")}]`] : [])];
  return {
    curl: [`curl ${server}/v1/${what}`, ...(keyed ? ['-H "X-API-Key: $KEY"'] : []), `-F images=@${file}`, ...fields.map(([field, value]) => `-F ${field}=${value}`)].join(" \\\n  "),
    Python: `from visavis import Client\n\nwith Client("${server}"${keyed ? ", key=KEY" : ""}) as client:\n    faces = client.${what}("${file}", ${python.join(", ")})\n    for face in faces:\n        print(face.box_xyxy, face.score)`,
    JavaScript: `const form = new FormData();\nform.append("images", file);\n${fields.map(([field, value]) => `form.append("${field}", "${value}");`).join("\n")}\nconst answer = await fetch("${server}/v1/${what}", { method: "POST", body: form${keyed ? ', headers: { "X-API-Key": key }' : ""} });\nconst { results: [{ faces }] } = await answer.json();`,
  };
}

export function Try() {
  const [{ photo, problem, busy }, take] = usePhoto();
  const [what, setWhat] = useState("detect");
  const [faces, setFaces] = useState("all");
  const [flags, setFlags] = useState(["quality"]);
  const [attributes, setAttributes] = useState([]);
  const [state, setState] = useState({ result: null, problem: null, ms: 0 });
  const [code, setCode] = useState("curl");
  const models = useCall((signal) => get("v1/models", { signal }), []);
  const pack = models.value && models.value.packs.find((each) => each.name === models.value.default);
  const told = pack ? pack.attributes : [];
  useEffect(() => {
    if (!photo) return undefined;
    const gone = new AbortController();
    (async () => {
      try {
        const values = { faces, ...Object.fromEntries(flags.map((each) => [each, true])) };
        const sent = await body({ images: [photo.source] }, photo.source.url ? { ...values, attributes } : { ...values, attributes: attributes.join(",") });
        const start = performance.now();
        const result = await call("POST", `v1/${what}`, { ...sent, signal: gone.signal });
        setState({ result, problem: null, ms: performance.now() - start });
        announce(t("try.done", { n: (result.results[0].faces || []).length }));
      } catch (found) { if (!gone.signal.aborted) setState({ result: null, problem: found, ms: 0 }); }
    })();
    return () => gone.abort();
  }, [photo, what, faces, flags, attributes]);
  const found = (state.result && photo && state.result.results[0].faces) || [];
  const toggle = (list, set, each) => set(list.includes(each) ? list.filter((other) => other !== each) : [...list, each]);
  const texts = codes({ what, flags, attributes, faces, source: photo && photo.source });
  return html`
    <h1 tabindex="-1">${t("nav.try")}</h1><p class="lead">${t("try.lead")}</p>
    <div class="beside">
      <div><${Drop} onSources=${([source]) => { setState({ result: null, problem: null, ms: 0 }); take(source); }} pastes=${true} label=${t(photo ? "drop.other" : "drop.choose")}>
        ${photo ? html`<${Photo} photo=${photo} faces=${found} labels=${found.map((_, at) => ({ text: at + 1 }))} points=${found.map((face) => face.landmarks)} />` : busy ? html`<div class="empty"><${Busy} /></div>` : null}
      </${Drop}><${Notice} problem=${problem} /></div>
      <form class="card" onSubmit=${(event) => event.preventDefault()}>
        <label>${t("try.what")}<select value=${what} onChange=${(event) => setWhat(event.target.value)}>${["detect", "embed"].map((each) => html`<option value=${each} key=${each}>POST /v1/${each}</option>`)}</select></label>
        <label>${t("try.faces")}<select value=${faces} onChange=${(event) => setFaces(event.target.value)}>${["all", "prominent", "largest", "main", "only"].map((each) => html`<option key=${each} value=${each}>${t(`faces.${each}`)}</option>`)}</select></label>
        <fieldset class="checks"><legend>${t("try.also")}</legend>
          ${FLAGS.map((each) => html`<label class="check" key=${each}><input type="checkbox" checked=${flags.includes(each)} onChange=${() => toggle(flags, setFlags, each)} /> ${t(`try.${each}`)}</label>`)}
          ${told.map((each) => html`<label class="check" key=${each}><input type="checkbox" checked=${attributes.includes(each)} onChange=${() => toggle(attributes, setAttributes, each)} /> ${t(`attribute.${each}`)}</label>`)}
        </fieldset>
      </form>
    </div>
    <${Notice} problem=${state.problem} />
    ${state.result && html`<section class="card"><h2>${t("try.answer", { ms: number(state.ms, 0) })}</h2>
      <ol class="plainlist">${found.map((face, at) => face.chip && html`<li key=${at}><${Chip} src=${face.chip} alt=${t("who.face", { n: at + 1 })}>${at + 1}</${Chip}></li>`)}</ol>
      <pre tabindex="0" aria-label=${t("try.json")}>${shown(state.result)}</pre></section>`}
    <section class="card"><h2>${t("try.code")}</h2>
      <div class="segments" role="tablist">${Object.keys(texts).map((each) => html`<button key=${each} role="tab" id=${`tab-${each}`} aria-controls="code" aria-selected=${each === code ? "true" : "false"} class=${each === code ? "main" : ""} onClick=${() => setCode(each)}>${each}</button>`)}</div>
      <pre tabindex="0" id="code" role="tabpanel" aria-labelledby=${`tab-${code}`}>${texts[code]}</pre></section>`;
}
