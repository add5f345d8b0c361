// Galleries: their choice, making one, their policies; and enrolling into one.

import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { call, form, get, path } from "./api.js";
import { Busy, Chip, Dialog, GalleryChoice, Notice, announce, nameOf, useCall } from "./parts.js";
import { t, told } from "./texts.js";

export const pictureOf = (gallery, match) =>
  `v1/galleries/${path(gallery)}/subjects/${path(match.subject)}/samples/${match.sample}/picture`;

const LAST = "visavis.gallery";

/** The galleries that the key may see, and the one in use: that of the address, of the screen before, or the first. */
export function useGalleries(screen, wanted) {
  const found = useCall((signal) => get("v1/galleries", { signal }), []);
  const all = found.value ? found.value.galleries : [];
  const named = (name) => all.find((each) => each.name === name);
  const here = named(wanted) || (wanted ? null : named(sessionStorage.getItem(LAST)) || named("default") || all[0]);
  if (here) sessionStorage.setItem(LAST, here.name);
  return { ...found, all, here, choose: (name) => { location.hash = `#/${path(screen, name)}`; } };
}

/** The head of a screen about a gallery; what is below it needs one. */
export function InGallery({ screen, rest, can, title, lead, children }) {
  const galleries = useGalleries(screen, rest[0]);
  const { value, problem, all, here, again, choose } = galleries;
  return html`<div class="row spread"><h1 tabindex="-1">${title}</h1>
      ${all.length > 0 && html`<${GalleryChoice} galleries=${all} name=${here ? here.name : ""} onChoose=${choose} />`}</div>
    <p class="lead">${lead}</p>
    <${Notice} problem=${problem} retry=${again} />
    ${!value && !problem && html`<${Busy} />`}
    ${value && !here && html`<section class="card"><h2>${t("gallery.none")}</h2><p>${t("gallery.none.hint")}</p>
      ${can("admin") ? html`<${NewGallery} onDone=${(made) => { again(); choose(made.name); }} />` : html`<p>${t("gallery.none.ask")}</p>`}</section>`}
    ${here && children(here, galleries)}`;
}

/** Enrol sources as a new person, or add them to one who is there. */
export function EnrolDialog({ gallery, sources, faces, chip, match, candidates = [], onClose, onDone }) {
  const [name, setName] = useState("");
  const [found, setFound] = useState([]);
  const [problem, setProblem] = useState(null);
  const [busy, setBusy] = useState(false);
  const [allow, setAllow] = useState(false);
  const [done, setDone] = useState(null); // what came of it, where some photos were refused
  const consent = useRef(null);
  useEffect(() => {
    if (!name.trim()) { setFound([]); return undefined; }
    const gone = new AbortController();
    const later = setTimeout(async () => {
      try {
        const page = await call("POST", `v1/galleries/${path(gallery.name)}/search`, { json: { text: name.trim(), limit: 5 }, signal: gone.signal });
        setFound(page.subjects);
      } catch { /* a name may be typed all the same */ }
    }, 200);
    return () => { clearTimeout(later); gone.abort(); };
  }, [name]);
  const enrol = async (more) => {
    setBusy(true);
    setProblem(null);
    try {
      const made = await call("POST", `v1/galleries/${path(gallery.name)}/enrol`, { form: form({ images: sources.map((each) => each.file),
        faces, allow_conflict: allow, consent: consent.current.value.trim(), ...more }) });
      const refused = made.results.map((each, at) => ({ name: sources[at].file.name, error: each.error })).filter((each) => each.error);
      announce(t("enrol.done"));
      if (!refused.length) return onDone(made.subject);
      setDone({ subject: made.subject, enrolled: sources.length - refused.length, refused });
    } catch (found_) {
      setProblem(found_);
      setBusy(false);
    }
    return undefined;
  };
  if (done) {
    return html`<${Dialog} title=${t("enrol.title")} onClose=${() => onDone(done.subject)}>
      <p role="status">${t("add.done", { n: done.enrolled, refused: done.refused.length })}</p>
      <ul>${done.refused.map((each, at) => html`<li key=${at}><b dir="auto">${each.name}</b>: ${told("error", each.error.code, each.error.detail)}</li>`)}</ul>
      <div class="actions"><button class="main" onClick=${() => onDone(done.subject)}>${t("close")}</button></div></${Dialog}>`;
  }
  const known = [...(match ? [match] : []), ...candidates, ...found].filter((each, at, all) =>
    all.findIndex((other) => (other.subject || other.id) === (each.subject || each.id)) === at);
  return html`<${Dialog} title=${t("enrol.title")} onClose=${onClose}>
    <div class="row">${chip && html`<${Chip} src=${chip} alt=${t("enrol.chip")} />`}<p>${t("enrol.lead")}</p></div>
    <form onSubmit=${(event) => { event.preventDefault(); enrol({ name: name.trim() }); }}>
      <label>${t("enrol.name")}<input value=${name} onInput=${(event) => setName(event.target.value)} maxlength="200" required dir="auto" autocomplete="off" autofocus /></label>
      <label>${t("enrol.consent")}<input ref=${consent} maxlength="1000" required=${gallery.policy.consent_required} /></label>
      ${problem && problem.code === "conflict" && html`<label class="check"><input type="checkbox" checked=${allow} onChange=${(event) => setAllow(event.target.checked)} /> ${t("enrol.allow")}</label>`}
      <${Notice} problem=${problem} />
      <div class="actions"><button class="main" disabled=${busy}>${t("enrol.new")}</button></div>
    </form>
    ${known.length > 0 && html`<h3 class="later">${t("enrol.known")}</h3><ul class="plainlist">${known.map((each) => html`<li key=${each.subject || each.id}>
      <button disabled=${busy} onClick=${() => enrol({ subject: each.subject || each.id })} dir="auto">${nameOf(each)}</button></li>`)}</ul>`}
  </${Dialog}>`;
}

export function NewGallery({ onDone }) {
  const [problem, setProblem] = useState(null);
  const make = async (event) => {
    event.preventDefault();
    const given = new FormData(event.target);
    try {
      const policy = { keep: given.get("keep") };
      onDone(await call("POST", "v1/galleries", { json: { name: given.get("name"), policy } }));
    } catch (found) { setProblem(found); }
  };
  return html`<form onSubmit=${make}>
    <label>${t("gallery.name")}<input name="name" required pattern="[A-Za-z0-9_][A-Za-z0-9._\\-]{0,254}" maxlength="255" placeholder="team" autocapitalize="none" aria-describedby="galleryname" /></label>
    <p class="quiet" id="galleryname">${t("gallery.name.hint")}</p>
    <label>${t("policy.keep")}<${KeepChoice} /></label>
    <${Notice} problem=${problem} />
    <div class="actions"><button class="main">${t("gallery.make")}</button></div>
  </form>`;
}

const KeepChoice = ({ value = "chips" }) => html`<select name="keep">
  ${["chips", "nothing", "images"].map((each) => html`<option value=${each} key=${each} selected=${each === value}>${t(`keep.${each}`)}</option>`)}</select>`;

const FLAGS = ["consent_required", "require_live", "allow_children", "log_searches"];
const NUMBERS = { fpir: [0.0001, 0.5, 0.0001], retention_days: [1, 100000, 1] };

/** How a gallery enrols, decides and forgets. */
export function Policy({ gallery, onClose, onDone }) {
  const [problem, setProblem] = useState(null);
  const change = async (event) => {
    event.preventDefault();
    const given = new FormData(event.target);
    const policy = { keep: given.get("keep") };
    for (const name of FLAGS) policy[name] = given.has(name);
    for (const name of Object.keys(NUMBERS)) policy[name] = given.get(name) ? Number(given.get(name)) : null;
    const changed = Object.fromEntries(Object.entries(policy).filter(([name, value]) => value !== gallery.policy[name]));
    try {
      if (Object.keys(changed).length) await call("PATCH", `v1/galleries/${path(gallery.name)}`, { json: { policy: changed } });
      announce(t("saved"));
      onDone();
    } catch (found) { setProblem(found); }
  };
  return html`<${Dialog} title=${t("policy.title", { name: gallery.name })} onClose=${onClose}>
    <form onSubmit=${change}>
      <label>${t("policy.keep")}<${KeepChoice} value=${gallery.policy.keep} /></label>
      ${Object.entries(NUMBERS).map(([name, [min, max, step]]) => html`<label key=${name}>${t(`policy.${name}`)}
        <input type="number" name=${name} min=${min} max=${max} step=${step} defaultValue=${gallery.policy[name] ?? ""} placeholder=${t(`policy.${name}.unset`)} /></label>`)}
      ${FLAGS.map((name) => html`<label class="check" key=${name}><input type="checkbox" name=${name} defaultChecked=${gallery.policy[name]} /> ${t(`policy.${name}`)}</label>`)}
      <p class="quiet">${gallery.encrypted ? t("policy.encrypted") : t("policy.plain")}</p>
      <${Notice} problem=${problem} />
      <div class="actions"><button class="main">${t("save")}</button></div>
    </form>
  </${Dialog}>`;
}
