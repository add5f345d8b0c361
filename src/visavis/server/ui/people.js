// People: those of a gallery, found by name; and one person, with samples.

import { Component, html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { call, form, get, path } from "./api.js";
import { EnrolDialog, InGallery, NewGallery, Policy, Whom, enrolling, one } from "./gallery.js";
import { imagesOf } from "./images.js";
import { Busy, Chip, Dialog, Drop, Icon, Kept, Notice, Sure, announce, nameOf, save, useAct, useCall, words } from "./parts.js";
import { day, number, t } from "./texts.js";

const PAGE = 60;
const AHEAD = 800; // pixels before the end, at which more are asked for

export function People({ rest, can }) {
  if (rest.length > 1 && rest[1]) return html`<${Person} key=${rest.join("/")} gallery=${rest[0]} id=${rest[1]} can=${can} />`;
  return html`<${InGallery} screen="people" rest=${rest} can=${can} lead=${t("people.lead")}>
    ${(gallery, galleries) => html`<${List} key=${gallery.name} gallery=${gallery} galleries=${galleries} can=${can} />`}
  </${InGallery}>`;
}

/** A page of people, which never changes once it is drawn, so that thousands of them stay smooth. */
class Some extends Component {
  shouldComponentUpdate() { return false; }

  render({ gallery, people, pictures }) {
    return html`<ul class="grid">${people.map((each) => html`<li key=${each.number}><a class="tile" href=${`#/${path("people", gallery, each.id)}`}>
      <${Kept} where=${`${one(gallery, each.id)}/picture`} alt="" allowed=${pictures && each.samples > 0} />
      <strong dir="auto">${nameOf(each)}</strong>
      <small>${t("people.samples", { n: each.samples })}${each.ignored && ` · ${t("person.ignored")}`}</small></a></li>`)}</ul>`;
  }
}

function List({ gallery, galleries, can }) {
  const [text, setText] = useState("");
  const [state, setState] = useState({ pages: [], cursor: "", problem: null, busy: true, of: "" });
  const [asking, setAsking] = useState(null);
  const end = useRef(null);
  const turn = useRef(0);
  const more = async (before) => {
    const mine = ++turn.current;
    setState({ ...before, busy: true, problem: null });
    try {
      let { cursor } = before;
      let people = [];
      do { // a page of a search may be empty though there is a next one
        const page = before.of
          ? await call("POST", `v1/galleries/${path(gallery.name)}/search`, { json: { text: before.of, limit: PAGE, ...(cursor && { cursor }) } })
          : await get(`v1/galleries/${path(gallery.name)}/subjects?limit=${PAGE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
        people = [...people, ...page.subjects];
        cursor = page.next_cursor;
      } while (cursor && !people.length && mine === turn.current);
      if (mine !== turn.current) return;
      setState({ ...before, pages: people.length ? [...before.pages, people] : before.pages, cursor, busy: false, problem: null });
      if (before.of) announce(t("people.found", { n: before.pages.flat().length + people.length }));
    } catch (problem) {
      if (mine === turn.current) setState({ ...before, busy: false, problem });
    }
  };
  useEffect(() => {
    const later = setTimeout(() => more({ pages: [], cursor: "", of: text.trim() }), text ? 250 : 0);
    return () => clearTimeout(later);
  }, [text]);
  const latest = useRef(null);
  latest.current = () => { if (!state.busy && state.cursor && !state.problem) more(state); };
  useEffect(() => { // more come as one scrolls; an observer misses some of what content-visibility moves
    const check = () => end.current.getBoundingClientRect().top < innerHeight + AHEAD && latest.current();
    check();
    addEventListener("scroll", check, { passive: true });
    addEventListener("resize", check);
    return () => { removeEventListener("scroll", check); removeEventListener("resize", check); };
  }, [state.pages.length, state.busy]);
  const close = () => setAsking(null);
  const pictures = can("admin", gallery.name) && gallery.policy.keep !== "nothing";
  return html`
    <div class="row spread toolbar">
      <label class="search"><span class="unseen">${t("people.search")}</span><input type="search" placeholder=${t("people.search")} value=${text}
        onInput=${(event) => setText(event.target.value)} maxlength="200" dir="auto" /></label>
      <div class="row">
        ${can("enrol", gallery.name) && html`<button class="main" onClick=${() => setAsking("person")}>${t("people.add")}</button>`}
        ${can("admin", gallery.name) && html`<button onClick=${() => setAsking("policy")}>${t("gallery.policy")}</button>`}
        ${can("admin") && html`<button onClick=${() => setAsking("gallery")}>${t("gallery.new")}</button>`}
      </div>
    </div>
    <p class="quiet">${t("people.count", { people: number(gallery.subjects, 0), samples: number(gallery.samples, 0) })}
      ${gallery.policy.keep === "nothing" ? ` · ${t("people.nopictures")}` : !can("admin") ? ` · ${t("people.pictures.admin")}` : ""}</p>
    ${state.pages.map((people) => html`<${Some} key=${`${state.of} ${people[0].number}`} gallery=${gallery.name} people=${people} pictures=${pictures} />`)}
    ${!state.busy && !state.problem && !state.pages.length && html`<p class="centre">${t(state.of ? "people.notfound" : "people.empty")}</p>`}
    <div ref=${end}>${state.busy && html`<${Busy} />`}</div>
    <${Notice} problem=${state.problem} retry=${() => more(state)} />
    ${asking === "person" && html`<${AddPerson} gallery=${gallery} pictures=${pictures} onClose=${close} onDone=${(made) => { location.hash = `#/${path("people", gallery.name, made.subject.id)}`; }} />`}
    ${asking === "policy" && html`<${Policy} gallery=${gallery} onClose=${close} onDone=${() => { close(); galleries.again(); }} />`}
    ${asking === "gallery" && html`<${Dialog} title=${t("gallery.new")} onClose=${close}><${NewGallery} onDone=${(made) => { close(); galleries.again(); galleries.choose(made.name); }} /></${Dialog}>`}`;
}

function AddPerson({ gallery, pictures, onClose, onDone }) {
  const [sources, setSources] = useState(null);
  if (sources) return html`<${EnrolDialog} gallery=${gallery} names=${sources.map((each) => each.file.name)} send=${enrolling(gallery, sources)} pictures=${pictures} onClose=${onClose} onDone=${onDone} />`;
  return html`<${Dialog} title=${t("people.add")} onClose=${onClose}><p>${t("people.add.lead")}</p>
    <${Drop} onSources=${(chosen) => setSources(chosen.filter((each) => each.file).slice(0, 16))} multiple=${true} label=${t("drop.choose.many")} compact=${true} /></${Dialog}>`;
}

function Person({ gallery, id, can }) {
  const found = useCall((signal) => Promise.all([get(one(gallery, id), { signal }), get(`v1/galleries/${path(gallery)}`, { signal })]), [gallery, id]);
  const [asking, setAsking] = useState(null);
  const [chosen, setChosen] = useState([]); // samples
  const [other, setOther] = useState(null); // who got the last of them
  useEffect(() => { // the title that had the focus is another one now
    if (found.value && document.activeElement === document.body) document.querySelector("h1").focus();
  }, [found.value]);
  const back = html`<p><a href=${`#/${path("people", gallery)}`}>← ${t("person.back", { gallery })}</a></p>`;
  if (!found.value) return html`${back}<h1 tabindex="-1" dir="auto">${id}</h1><${Notice} problem=${found.problem} retry=${found.again} />${found.busy && html`<${Busy} />`}`;
  const [person, about] = found.value;
  const admin = can("admin", gallery);
  const again = () => { setChosen([]); found.again(); };
  return html`${back}
    <div class="row head"><${Kept} where=${`${one(gallery, id)}/picture`} alt="" allowed=${admin && person.samples > 0} />
      <div class="grow"><h1 tabindex="-1" dir="auto">${nameOf(person)}</h1><p class="quiet">${t("person.id")} <code dir="auto">${person.id}</code> · ${t("people.samples", { n: person.samples })} · ${t("person.since", { day: day(person.created_at) })}
        ${person.expires_at && html` · ${t("person.until", { day: day(person.expires_at) })}`}${person.ignored && ` · ${t("person.ignored")}`}</p></div>
      ${admin && html`<div class="row"><button onClick=${() => { setChosen([]); setAsking("give"); }}>${t("merge.button")}</button>
        <button class="danger" onClick=${() => setAsking("forget")}>${t("forget.button")}</button></div>`}
    </div>
    ${can("enrol", gallery) && html`<${Edit} key=${person.version} gallery=${gallery} person=${person} onDone=${found.again} />`}
    <section class="card"><div class="row spread"><h2>${t("samples.title")}</h2>${chosen.length > 0 && html`<button class="main" onClick=${() => setAsking("give")}>${t("move.button", { n: chosen.length })}</button>`}</div>
      ${other && html`<p role="status"><${Icon} name="same" /> ${t("move.done")} <a href=${`#/${path("people", gallery, other.id)}`} dir="auto">${nameOf(other)}</a></p>`}
      ${!person.sample_list.length && html`<p>${t("samples.none")}</p>`}
      <ul class="grid">${person.sample_list.map((sample) => html`<${Sample} key=${sample.id} gallery=${gallery} person=${person} sample=${sample} admin=${admin} onDone=${again}
        chosen=${chosen.includes(sample.id)} onChoose=${(event) => setChosen(event.target.checked ? [...chosen, sample.id] : chosen.filter((each) => each !== sample.id))} />`)}</ul>
      ${can("enrol", gallery) && html`<${AddPhotos} gallery=${about} person=${person} onDone=${found.again} />`}
    </section>
    ${asking === "give" && html`<${Give} gallery=${about} person=${person} samples=${chosen} onClose=${() => setAsking(null)}
      onDone=${(to) => { setAsking(null); setOther(to); again(); }} />`}
    ${asking === "forget" && html`<${Forget} gallery=${gallery} person=${person} onClose=${() => setAsking(null)} />`}`;
}

function Edit({ gallery, person, onDone }) {
  const [act, problem, busy] = useAct();
  const change = (event) => {
    event.preventDefault();
    const given = new FormData(event.target);
    const text = (name) => given.get(name).trim();
    act(async () => {
      const wanted = {};
      if (text("name") !== (person.name || "")) wanted.name = text("name") || null;
      if (text("consent") !== (person.consent || "")) wanted.consent = text("consent") || null;
      if (text("id") !== person.id) wanted.id = text("id");
      const until = text("until");
      if (until !== (person.expires_at || "").slice(0, 10)) wanted.expires_at = until ? `${until}T23:59:59Z` : null;
      const metadata = text("metadata") ? JSON.parse(text("metadata")) : null;
      if (given.has("ignored") !== person.ignored) wanted.ignored = given.has("ignored");
      if (JSON.stringify(metadata || {}) !== JSON.stringify(person.metadata)) wanted.metadata = metadata;
      if (Object.keys(wanted).length) {
        const changed = await call("PATCH", one(gallery, person.id), { json: wanted, headers: { "If-Match": `"${person.number}-${person.version}"` } });
        announce(t("saved"));
        if (changed.id !== person.id) { location.hash = `#/${path("people", gallery, changed.id)}`; return; }
      }
      onDone();
    });
  };
  return html`<details class="card"><summary>${t("edit.title")}</summary><form onSubmit=${change}>
    <div class="fields">
      <label>${t("edit.name")}<input name="name" defaultValue=${person.name || ""} maxlength="1000" dir="auto" /></label>
      <label>${t("person.id")}<input name="id" defaultValue=${person.id} required maxlength="200" dir="auto" /></label>
      <label>${t("edit.consent")}<input name="consent" defaultValue=${person.consent || ""} maxlength="1000" dir="auto" /></label>
      <label>${t("edit.until")}<input type="date" name="until" defaultValue=${(person.expires_at || "").slice(0, 10)} /></label>
    </div>
    <label>${t("edit.metadata")}<textarea name="metadata" rows="3" spellcheck=${false} defaultValue=${Object.keys(person.metadata).length ? JSON.stringify(person.metadata, null, 1) : ""} /></label>
    <label class="check"><input type="checkbox" name="ignored" defaultChecked=${person.ignored} /> ${t("edit.ignored")}</label>
    <${Notice} problem=${problem} />
    <div class="actions"><button class="main" disabled=${busy}>${t("save")}</button></div>
  </form></details>`;
}

function Sample({ gallery, person, sample, admin, chosen, onChoose, onDone }) {
  const [act, problem] = useAct();
  const where = `${one(gallery, person.id)}/samples/${sample.id}`;
  const forget = () => act(async () => { await call("DELETE", where); announce(t("samples.forgotten")); onDone(); });
  const { quality } = sample;
  return html`<li class="tile"><${Kept} where=${`${where}/picture`} alt=${t("samples.alt", { n: sample.id })} allowed=${admin && sample.picture !== "nothing"} />
    ${admin && html`<label class="check"><input type="checkbox" checked=${chosen} onChange=${onChoose} /> ${t("samples.alt", { n: sample.id })}</label>`}
    ${sample.counter && html`<strong>${t("who.not")}</strong>`}
    <small>${day(sample.created_at)}${sample.source && html`<br /><span dir="auto">${sample.source}</span>`}</small>
    ${quality && html`<small>${t("samples.quality", { px: number(quality.face_px, 0), sharpness: number(quality.sharpness, 2) })}</small>`}
    ${admin && html`<${Sure} label=${t("samples.forget.label", { n: sample.id })} onClick=${forget}>${t("forget.button")}</${Sure}>`}
    <${Notice} problem=${problem} /></li>`;
}

/** Photos of one person, one after the other: how far it is, and what was refused, with its face and why. */
function AddPhotos({ gallery, person, onDone }) {
  const [state, setState] = useState({ all: 0, done: 0, enrolled: 0, refused: [] });
  const stop = useRef(false);
  useEffect(() => () => { stop.current = true; }, []);
  const add = async (sources) => {
    const files = imagesOf(sources.filter((each) => each.file).map((each) => each.file)).sort((a, b) => a.name.localeCompare(b.name));
    const links = sources.filter((each) => each.url);
    const counts = { all: files.length + links.length, done: 0, enrolled: 0, refused: [] };
    setState({ ...counts });
    for (const source of [...files.map((file) => ({ file })), ...links]) {
      if (stop.current) return;
      const name = source.url || source.file.webkitRelativePath || source.file.name;
      const where = `v1/galleries/${path(gallery.name)}/enrol`;
      try {
        await call("POST", where, source.url ? { json: { subject: person.id, images: [source] } }
          : { form: form({ subject: person.id, images: source.file, source: name.slice(-200) }) });
        counts.enrolled += 1;
      } catch (problem) {
        const chip = source.file && problem.status < 500 && problem.status ? await looked(source) : null;
        counts.refused = [...counts.refused, { name, problem, chip }];
        if (["unreachable", "unauthorized", "forbidden"].includes(problem.code)) counts.done = counts.all - 1;
      }
      counts.done += 1;
      setState({ ...counts });
      if (counts.done >= counts.all) break;
    }
    announce(t("add.done", { n: counts.enrolled, refused: counts.refused.length }));
    if (counts.enrolled) onDone();
  };
  const busy = state.done < state.all;
  return html`<div class="later"><h2>${t("add.title")}</h2>
    <${Drop} onSources=${add} multiple=${true} folder=${true} pastes=${true} compact=${true} label=${t("drop.choose.many")} />
    ${state.all > 0 && html`<div role="status"><label>${busy ? t("add.busy", state) : t("add.done", { n: state.enrolled, refused: state.refused.length })}
      <progress value=${state.done} max=${state.all} /></label></div>`}
    ${state.refused.length > 0 && html`<ul class="refused">${state.refused.map((each, at) => html`<li key=${at}>
      <${Chip} src=${each.chip} alt=${t("add.face")} /><div><strong dir="auto">${each.name}</strong><p>${words(each.problem).title}</p>
      <p class="quiet">${words(each.problem).detail}</p></div></li>`)}</ul>`}
  </div>`;
}

/** The face of what was refused, where there is one. */
async function looked(source) {
  try {
    const found = await call("POST", "v1/detect", { form: form({ images: source.file, faces: "largest", chips: true }) });
    const [face] = found.results[0].faces || [];
    return face ? face.chip : null;
  } catch { return null; }
}

/** To whom samples go: those that were chosen, or all of them, and then the person is forgotten. */
function Give({ gallery, person, samples, onClose, onDone }) {
  const similar = useCall((signal) => get(`${one(gallery.name, person.id)}/similar`, { signal }), []);
  const [into, setInto] = useState(null);
  const [act, problem, busy] = useAct();
  const some = samples.length > 0;
  const give = (verb, json) => act(async () => {
    const other = await call("POST", `${one(gallery.name, person.id)}/${verb}`, { json: some ? { ...json, samples } : json });
    announce(t(some ? "move.done" : "merge.done"));
    if (some) onDone(other); else location.hash = `#/${path("people", gallery.name, other.id)}`;
  });
  const onKnown = (each) => (some ? give("move", { into: each.subject || each.id }) : setInto(each));
  const split = ({ name, consent }) => give("split", { name, ...(consent && { consent }) });
  return html`<${Dialog} title=${some ? t("move.title", { n: samples.length, name: nameOf(person) }) : t("merge.title", { name: nameOf(person) })} onClose=${onClose}>
    ${into ? html`<p>${t("merge.sure", { name: nameOf(person), into: nameOf(into) })}</p><${Notice} problem=${problem} />
      <div class="actions"><button class="main" disabled=${busy} onClick=${() => give("merge", { into: into.subject || into.id })}>${t("merge.button")}</button><button onClick=${() => setInto(null)}>${t("back")}</button></div>`
    : html`<p>${t(some ? "move.lead" : "merge.lead")}</p>
      <${Whom} gallery=${gallery} not=${person.id} near=${similar.value ? similar.value.candidates : []} pictures=${true} busy=${busy} title=${t("move.new")} onKnown=${onKnown} onNew=${some && split}>
        <${Notice} problem=${problem || similar.problem} />${similar.busy && html`<${Busy} />`}</${Whom}>`}
  </${Dialog}>`;
}

function Forget({ gallery, person, onClose }) {
  const [receipt, setReceipt] = useState(null);
  const [act, problem, busy] = useAct();
  const forget = () => act(async () => { setReceipt(await call("DELETE", one(gallery, person.id))); announce(t("forget.done")); });
  const home = () => { onClose(); if (receipt) location.hash = `#/${path("people", gallery)}`; };
  return html`<${Dialog} title=${t("forget.title", { name: nameOf(person) })} onClose=${home}>
    ${receipt ? html`<p><${Icon} name="same" /> ${t("forget.done")} ${receipt.overwritten ? t("forget.overwritten") : ""}</p><p class="quiet">${t("forget.receipt")}</p>
      <div class="actions"><button class="main" onClick=${() => save(receipt, `receipt-${receipt.gallery}-${receipt.subjects.join("-")}.json`)}>${t("forget.save")}</button><button onClick=${home}>${t("close")}</button></div>`
    : html`<p>${t("forget.sure", { n: person.samples })}</p><${Notice} problem=${problem} />
      <div class="actions"><button class="danger" disabled=${busy} onClick=${forget}>${t("forget.do")}</button><button onClick=${onClose}>${t("back")}</button></div>`}
  </${Dialog}>`;
}
