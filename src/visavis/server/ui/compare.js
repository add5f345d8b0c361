// Compare: do two photos show the same person?

import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { body, call, get } from "./api.js";
import { cut, overlap } from "./images.js";
import { Busy, Chip, Drop, Icon, Notice, Photo, Scale, announce, probability, useCall, usePhoto } from "./parts.js";
import { oneIn, t, told } from "./texts.js";

const RATES = { strict: 1e-4, balanced: 1e-3, lenient: 1e-2 };

/** One place: its photo, all faces in it, and the one that counts. */
function useSide() {
  const [state, take] = usePhoto();
  const [faces, setFaces] = useState([]);
  const [picked, setPicked] = useState(null); // {at, source} where another face was chosen
  const choose = async (at) => setPicked({ at, source: await cut(state.photo, faces[at].box_xyxy) });
  return { ...state, faces, setFaces, picked, choose,
    take: (source) => { setFaces([]); setPicked(null); take(source); },
    whole: state.source, source: picked ? picked.source : state.source };
}

function Place({ side, label, taken, other }) {
  const offer = ([first, second]) => { // the other photo may come along
    side.take(first);
    if (second) other.take(second);
  };
  return html`<section class="place" aria-label=${label}>
    <h2>${label}</h2>
    <${Drop} onSources=${offer} label=${t(side.photo ? "drop.other" : "drop.choose")} multiple=${true}>
      ${side.photo ? html`<${Photo} photo=${side.photo} faces=${side.faces} taken=${taken} onPick=${side.faces.length > 1 ? side.choose : null} />`
        : side.busy ? html`<div class="empty"><${Busy} /></div>` : null}
    </${Drop}>
    ${side.faces.length > 1 && html`<p class="quiet">${t("compare.faces", { n: side.faces.length })}</p>`}
    <${Notice} problem=${side.problem} />
  </section>`;
}

export function Compare() {
  const a = useSide();
  const b = useSide();
  const models = useCall((signal) => get("v1/models", { signal }), []);
  const [point, setPoint] = useState("default");
  const [state, setState] = useState({ result: null, problem: null, busy: false });
  const [again, setAgain] = useState(0);
  const verdict = useRef(null);
  useEffect(() => { // a pasted photo goes where there is none
    const paste = (event) => {
      const file = [...event.clipboardData.files].find((each) => each.type.startsWith("image/"));
      if (file) { event.preventDefault(); (a.whole && !b.whole ? b : a).take({ file }); }
    };
    document.addEventListener("paste", paste);
    return () => document.removeEventListener("paste", paste);
  });
  useEffect(() => { // at once, while the photos are still being opened to be shown
    if (!a.source || !b.source) { setState({ result: null, problem: null, busy: false }); return undefined; }
    const gone = new AbortController();
    setState((before) => ({ ...before, problem: null, busy: true }));
    (async () => {
      try {
        const sent = await body({ a: a.source, b: b.source }, { operating_point: point, chips: true });
        const result = await call("POST", "v1/verify", { ...sent, signal: gone.signal });
        setState({ result, problem: null, busy: false });
        requestAnimationFrame(() => verdict.current && verdict.current.scrollIntoView({ block: "nearest" }));
        announce(`${t(`verdict.${result.decision}`)}. ${result.probability === null ? "" : t("compare.probability", { p: probability(result.probability) })}`);
        for (const side of [a, b]) { // what else there is to choose, now that the answer is there
          if (side.faces.length || side.picked) continue;
          const found = await call("POST", "v1/detect", { ...(await body({ images: [side.whole] }, {})), signal: gone.signal });
          side.setFaces(found.results[0].faces || []);
        }
      } catch (problem) {
        if (!gone.signal.aborted) setState((before) => (before.busy ? { result: null, problem, busy: false } : before));
      }
    })();
    return () => gone.abort();
  }, [a.source, b.source, point, again]);
  const { result, problem, busy } = state;
  const taken = (side, at) => {
    if (side.picked) return side.picked.at;
    if (!result || !side.faces.length) return -1;
    const box = result.faces[at].box_xyxy;
    const overlaps = side.faces.map((face) => overlap(face.box_xyxy, box));
    return overlaps.indexOf(Math.max(...overlaps));
  };
  const pack = models.value && models.value.packs.find((each) => each.name === models.value.default);
  const points = pack ? Object.keys(pack.operating_points) : ["default"];
  return html`
    <h1 tabindex="-1">${t("compare.title")}</h1>
    <p class="lead">${t("compare.lead")}</p>
    <div class="pair"><${Place} side=${a} other=${b} label=${t("compare.first")} taken=${taken(a, 0)} />
      <${Place} side=${b} other=${a} label=${t("compare.second")} taken=${taken(b, 1)} /></div>
    <div ref=${verdict}>
      ${busy && html`<${Busy}>${t("compare.busy")}</${Busy}>`}
      <${Notice} problem=${!a.problem && !b.problem && problem} retry=${() => setAgain(again + 1)} />
      ${result && !busy && html`<${Verdict} result=${result} />`}
    </div>
    <fieldset class="segments"><legend>${t("compare.strictness")}</legend>
      ${points.map((name) => html`<label key=${name}><input type="radio" name="point" value=${name} checked=${point === name} onChange=${() => setPoint(name)} />
        <span>${t(`point.${name}`)}<small>${RATES[name] ? oneIn(RATES[name]) : t("point.default.rate")}</small></span></label>`)}
    </fieldset>
    <p class="quiet">${t("compare.strictness.hint")}</p>`;
}

function Verdict({ result }) {
  const { decision, faces } = result;
  return html`<section class=${`verdict ${decision}`} aria-label=${t("compare.result")}>
    <div class="chips"><${Chip} src=${faces[0].chip} alt=${t("compare.chip.first")} /><${Chip} src=${faces[1].chip} alt=${t("compare.chip.second")} /></div>
    <div class="says">
      <p class="big"><${Icon} name=${decision} /> ${t(`verdict.${decision}`)}</p>
      ${result.reason ? html`<p class="sub">${told("reason", result.reason)}</p>`
        : result.probability !== null && html`<p class="sub">${t("compare.probability", { p: probability(result.probability) })}</p>`}
      <${Scale} distance=${result.distance} threshold=${result.threshold} interval=${result.interval} fmr=${result.fmr} />
      <details><summary>${t("compare.meaning")}</summary><p>${t(`meaning.${decision}`)}</p></details>
    </div>
  </section>`;
}
