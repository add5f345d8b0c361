// Galleries: their choice, making one, their policies; and enrolling into one.

import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { call, form, get, path } from "./api.js";
import { Busy, Chip, Dialog, Kept, Notice, announce, nameOf, probability, useAct, useCall } from "./parts.js";
import { number, t, told } from "./texts.js";

export const one = (gallery, id) => `v1/galleries/${path(gallery)}/subjects/${path(id)}`;

/** What asks for sources to be enrolled. */
export const enrolling = (gallery, sources, faces) => (more) =>
  call("POST", `v1/galleries/${path(gallery.name)}/enrol`, { form: form({ images: sources.map((each) => each.file), faces, ...more }) });

export const pictureOf = (gallery, match) => `${one(gallery, match.subject)}/samples/${match.sample}/picture`;

const LAST = "visavis.gallery";

/** The head of a screen about a gallery: that of the address, of the screen before, or the first; what is below needs one. */
export function InGallery({ screen, rest: [wanted], can, lead, children }) {
  const { value, problem, again } = useCall((signal) => get("v1/galleries", { signal }), []);
  const all = value ? value.galleries : [];
  const named = (name) => all.find((each) => each.name === name);
  const here = named(wanted) || (wanted ? null : named(sessionStorage.getItem(LAST)) || named("default") || all[0]);
  if (here) sessionStorage.setItem(LAST, here.name);
  const choose = (name) => { location.hash = `#/${path(screen, name)}`; };
  return html`<div class="row spread"><h1 tabindex="-1">${t(`nav.${screen}`)}</h1>
      ${all.length > 0 && html`<label class="choice">${t("gallery")}<select value=${here ? here.name : ""} onChange=${(event) => choose(event.target.value)}>
        ${all.map((each) => html`<option value=${each.name} key=${each.name}>${each.name}</option>`)}</select></label>`}</div>
    <p class="lead">${lead}</p>
    <${Notice} problem=${problem} retry=${again} />
    ${!value && !problem && html`<${Busy} />`}
    ${value && !here && html`<section class="card"><h2>${t("gallery.none")}</h2><p>${t("gallery.none.hint")}</p>
      ${can("admin") ? html`<${NewGallery} onDone=${(made) => { again(); choose(made.name); }} />` : html`<p>${t("gallery.none.ask")}</p>`}</section>`}
    ${here && children(here, { again, choose })}`;
}

const idOf = (each) => each.subject || each.id;

/** Whom something is for: somebody who is there, those given first or found by name; with onNew, also a new person. */
export function Whom({ gallery, near = [], not, title, pictures, busy, onKnown, onNew, children }) {
  const [text, setText] = useState("");
  const [found, setFound] = useState([]);
  const consent = useRef(null);
  const wanted = text.trim();
  useEffect(() => {
    if (!wanted) return undefined;
    const gone = new AbortController();
    const later = setTimeout(() => call("POST", `v1/galleries/${path(gallery.name)}/search`, { json: { text: wanted, limit: 8 }, signal: gone.signal })
      .then((page) => setFound(page.subjects), () => {}), 200); // a name may be typed all the same
    return () => { clearTimeout(later); gone.abort(); };
  }, [wanted]);
  const shown = (wanted ? found : near).filter((each, at, all) => idOf(each) !== not && all.findIndex((other) => idOf(other) === idOf(each)) === at);
  const submit = (event) => { event.preventDefault(); if (onNew) onNew({ name: wanted, consent: consent.current.value.trim() }); };
  return html`<form onSubmit=${submit}>
      <label>${t(onNew ? "edit.name" : "people.search")}<input type=${onNew ? "text" : "search"} value=${text} onInput=${(event) => setText(event.target.value)} maxlength="200" required=${Boolean(onNew)} dir="auto" autocomplete="off" autofocus /></label>
      ${onNew && html`<label>${t("enrol.consent")}<input ref=${consent} maxlength="1000" required=${gallery.policy.consent_required} /></label>`}
      ${children}
      ${onNew && html`<div class="actions"><button class="main" disabled=${busy}>${title}</button></div>`}
    </form>
    ${onNew && shown.length > 0 && html`<h3 class="later">${t("enrol.known")}</h3>`}
    <ul class="choices">${shown.map((each) => html`<li key=${idOf(each)}><button disabled=${busy} onClick=${() => onKnown(each)}>
      <${Kept} where=${`${one(gallery.name, idOf(each))}/picture`} alt="" allowed=${pictures} /><span dir="auto">${nameOf(each)}
      ${each.distance !== undefined && html`<small>${t("scale.distance")} ${number(each.distance)} · ${probability(each.probability)}</small>`}</span></button></li>`)}</ul>`;
}

/** Enrol what has names as a new person, or add it to one who is there: send asks for that, and onDone is told the answer. */
export function EnrolDialog({ gallery, names, send, chip, near, pictures, onClose, onDone }) {
  const [act, problem, busy] = useAct();
  const [allow, setAllow] = useState(false);
  const [done, setDone] = useState(null); // what came of it, where some photos were refused
  const enrol = (more) => act(async () => {
    const made = await send({ allow_conflict: allow, ...more });
    const refused = made.results.map((each, at) => ({ name: names[at], error: each.error })).filter((each) => each.error);
    announce(t("enrol.done"));
    if (refused.length) setDone({ made, refused }); else onDone(made);
  });
  if (done) {
    return html`<${Dialog} title=${t("enrol.title")} onClose=${() => onDone(done.made)}>
      <p role="status">${t("add.done", { n: names.length - done.refused.length, refused: done.refused.length })}</p>
      <ul>${done.refused.map((each, at) => html`<li key=${at}><b dir="auto">${each.name}</b>: ${told("error", each.error.code, each.error.detail)}</li>`)}</ul>
      <div class="actions"><button class="main" onClick=${() => onDone(done.made)}>${t("close")}</button></div></${Dialog}>`;
  }
  return html`<${Dialog} title=${t("enrol.title")} onClose=${onClose}>
    <div class="row">${chip && html`<${Chip} src=${chip} alt=${t("enrol.chip")} />`}<p>${t("enrol.lead")}</p></div>
    <${Whom} gallery=${gallery} near=${near} pictures=${pictures} title=${t("enrol.new")} busy=${busy} onNew=${enrol} onKnown=${(each) => enrol({ subject: each.subject || each.id })}>
      ${problem && problem.code === "conflict" && html`<label class="check"><input type="checkbox" checked=${allow} onChange=${(event) => setAllow(event.target.checked)} /> ${t("enrol.allow")}</label>`}
      <${Notice} problem=${problem} />
    </${Whom}>
  </${Dialog}>`;
}

export function NewGallery({ onDone }) {
  const [act, problem, busy] = useAct();
  const make = (event) => {
    event.preventDefault();
    const given = new FormData(event.target);
    act(async () => onDone(await call("POST", "v1/galleries", { json: { name: given.get("name"), policy: { keep: given.get("keep") } } })));
  };
  return html`<form onSubmit=${make}>
    <label>${t("gallery.name")}<input name="name" required pattern="[A-Za-z0-9_][A-Za-z0-9._\\-]{0,254}" maxlength="255" placeholder="team" autocapitalize="none" aria-describedby="galleryname" /></label>
    <p class="quiet" id="galleryname">${t("gallery.name.hint")}</p>
    <label>${t("policy.keep")}<${KeepChoice} /></label>
    <${Notice} problem=${problem} />
    <div class="actions"><button class="main" disabled=${busy}>${t("gallery.make")}</button></div>
  </form>`;
}

const KeepChoice = ({ value = "chips" }) => html`<select name="keep">
  ${["chips", "nothing", "images"].map((each) => html`<option value=${each} key=${each} selected=${each === value}>${t(`keep.${each}`)}</option>`)}</select>`;

const FLAGS = ["consent_required", "require_live", "allow_children", "log_searches"];
const NUMBERS = { fpir: [0.0001, 0.5, 0.0001], retention_days: [1, 100000, 1], review_days: [1, 100000, 1] };

/** How a gallery enrols, decides and forgets. */
export function Policy({ gallery, onClose, onDone }) {
  const [act, problem, busy] = useAct();
  const change = (event) => {
    event.preventDefault();
    const given = new FormData(event.target);
    const policy = { keep: given.get("keep") };
    for (const name of FLAGS) policy[name] = given.has(name);
    for (const name of Object.keys(NUMBERS)) policy[name] = given.get(name) ? Number(given.get(name)) : null;
    const changed = Object.fromEntries(Object.entries(policy).filter(([name, value]) => value !== gallery.policy[name]));
    act(async () => {
      if (Object.keys(changed).length) await call("PATCH", `v1/galleries/${path(gallery.name)}`, { json: { policy: changed } });
      announce(t("saved"));
      onDone();
    });
  };
  return html`<${Dialog} title=${t("policy.title", { name: gallery.name })} onClose=${onClose}>
    <form onSubmit=${change}>
      <label>${t("policy.keep")}<${KeepChoice} value=${gallery.policy.keep} /></label>
      ${Object.entries(NUMBERS).map(([name, [min, max, step]]) => html`<label key=${name}>${t(`policy.${name}`)}
        <input type="number" name=${name} min=${min} max=${max} step=${step} defaultValue=${gallery.policy[name] ?? ""} placeholder=${t(`policy.${name}.unset`)} /></label>`)}
      ${FLAGS.map((name) => html`<label class="check" key=${name}><input type="checkbox" name=${name} defaultChecked=${gallery.policy[name]} /> ${t(`policy.${name}`)}</label>`)}
      <p class="quiet">${gallery.encrypted ? t("policy.encrypted") : t("policy.plain")}</p>
      <${Notice} problem=${problem} />
      <div class="actions"><button class="main" disabled=${busy}>${t("save")}</button></div>
    </form>
  </${Dialog}>`;
}
