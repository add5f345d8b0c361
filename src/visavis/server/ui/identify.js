// Who is this?: the faces of photos, each with the person that it is or the reason why it is nobody.

import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { Problem, body, call, path } from "./api.js";
import { EnrolDialog, InGallery, enrolling, one, pictureOf } from "./gallery.js";
import { cut, open } from "./images.js";
import { Busy, Chip, Drop, Icon, Kept, Notice, Photo, Scale, Sure, announce, nameOf, probability, useAct } from "./parts.js";
import { number, t, told } from "./texts.js";

const AT_ONCE = 2; // photos on their way

export function Who({ rest, can }) {
  return html`<${InGallery} screen="who" rest=${rest} can=${can} lead=${t("who.lead")}>
    ${(gallery) => html`<${Asking} key=${gallery.name} gallery=${gallery} can=${can} />`}
  </${InGallery}>`;
}

function Asking({ gallery, can }) {
  const [jobs, setJobs] = useState([]); // {id, source, photo, result, problem, busy}
  const next = useRef(0);
  const running = useRef(0);
  const waiting = useRef([]);
  const gone = useRef(new AbortController());
  useEffect(() => () => gone.current.abort(), []);
  const change = (id, more) => setJobs((before) => before.map((job) => (job.id === id ? { ...job, ...more } : job)));
  const work = async (job) => {
    change(job.id, { busy: true, problem: null });
    try {
      const photo = job.photo || await open(job.source);
      change(job.id, { photo });
      const sent = await body({ images: [job.source] }, { chips: true });
      const found = await call("POST", `v1/galleries/${path(gallery.name)}/identify`, { ...sent, signal: gone.current.signal });
      const [result] = found.results;
      if (result.error) throw new Problem(result.error);
      change(job.id, { result, busy: false });
      announce(t("who.found", { n: result.faces.length, names: result.faces.map((face) => (face.match ? nameOf(face.match) : t("who.unknown"))).join(", ") }));
    } catch (problem) {
      if (!gone.current.signal.aborted) change(job.id, { busy: false, problem });
    }
  };
  const go = async () => { // the next ones, a few at a time
    while (running.current < AT_ONCE && waiting.current.length) {
      running.current += 1;
      work(waiting.current.shift()).finally(() => { running.current -= 1; go(); });
    }
  };
  const add = (sources) => {
    const fresh = sources.map((source) => ({ id: next.current++, source, busy: true }));
    setJobs((before) => [...fresh, ...before]);
    waiting.current.push(...fresh);
    go();
  };
  const again = (job) => { waiting.current.push(job); go(); };
  const left = jobs.filter((job) => job.busy).length;
  return html`
    <${Drop} onSources=${add} multiple=${true} folder=${true} pastes=${true} compact=${jobs.length > 0} label=${t("drop.choose.many")} />
    <p class="quiet" role="status">${jobs.length > 1 && (left ? t("add.busy", { done: jobs.length - left, all: jobs.length }) : t("who.done", { all: jobs.length }))}</p>
    ${jobs.map((job) => html`<${Answer} key=${job.id} job=${job} gallery=${gallery} can=${can} again=${() => again(job)}
      onEnrolled=${() => again(job)} onGone=${() => setJobs((before) => before.filter((other) => other.id !== job.id))} />`)}`;
}

function Answer({ job, gallery, can, again, onEnrolled, onGone }) {
  const [enrolled, setEnrolled] = useState(null);
  const faces = job.result ? job.result.faces : [];
  const labels = faces.map((face, at) => ({ text: face.match ? nameOf(face.match) : `${at + 1}`, kind: face.match ? "known" : "" }));
  const source = (face) => cut(job.photo, face.face.box_xyxy);
  const enrol = async (face) => setEnrolled({ face, source: await source(face) });
  return html`<article class="card answer" aria-label=${job.source.url || job.source.file.name}>
    <div class="row spread"><h2>${job.source.url || job.source.file.name}</h2>
      <button class="plain" aria-label=${t("who.remove")} onClick=${onGone}><${Icon} name="close" /></button></div>
    <div class="beside">
      ${job.photo && html`<${Photo} photo=${job.photo} faces=${faces.map((face) => face.face)} labels=${labels} />`}
      <div>
        ${job.busy && html`<${Busy} />`}
        <${Notice} problem=${job.problem} retry=${again} />
        ${job.result && !job.busy && !faces.length && html`<p>${t("who.nobody")}</p>`}
        ${job.result && html`<ol class="people">${faces.map((face, at) => html`<${One} key=${at} face=${face} at=${at} gallery=${gallery} can=${can} source=${() => source(face)} onEnrol=${() => enrol(face)} onDone=${again} />`)}</ol>`}
      </div>
    </div>
    ${enrolled && html`<${EnrolDialog} gallery=${gallery} names=${[enrolled.source.file.name]} send=${enrolling(gallery, [enrolled.source], "prominent")} chip=${enrolled.face.face.chip} near=${[enrolled.face.match, ...enrolled.face.candidates].filter(Boolean)} pictures=${can("admin", gallery.name)}
      onClose=${() => setEnrolled(null)} onDone=${() => { setEnrolled(null); onEnrolled(); }} />`}
  </article>`;
}

function One({ face, at, gallery, can, source, onEnrol, onDone }) {
  const { match, unknown, candidates } = face;
  const nearest = candidates[0];
  const [act, problem, busy] = useAct();
  const change = (subject, ignored) => act(async () => { await call("PATCH", one(gallery.name, subject), { json: { ignored } }); announce(t("saved")); onDone(); });
  const enrol = (more) => act(async () => { // the face, as what is told of it
    const { file } = await source();
    await enrolling(gallery, [{ file }], "prominent")(more);
    announce(t("saved"));
    onDone();
  });
  const keeps = !gallery.policy.consent_required; // also of those who agreed to nothing
  return html`<li class="person ${match ? "known" : ""}">
    <${Chip} src=${face.face.chip} alt=${t("who.face", { n: at + 1 })} />
    ${match && can("admin") && html`<${Kept} where=${pictureOf(gallery.name, match)} alt=${t("who.sample", { name: nameOf(match) })} />`}
    <div class="says">
      <h3>${match ? html`<${Icon} name="same" /> <a href=${`#/${path("people", gallery.name, match.subject)}`} dir="auto">${nameOf(match)}</a>`
        : html`<${Icon} name="uncertain" /> ${t("who.unknown")}`} <small>${t("who.face", { n: at + 1 })}</small></h3>
      ${unknown && html`<p>${told("unknown", unknown, told("reason", unknown))}</p>`}
      ${match && face.uncertain && html`<p>${t("who.uncertain")}</p>`}
      ${match && html`<p class="facts">${match.probability !== null && html`<span>${t("probability")} <b>${probability(match.probability)}</b></span>`}
        <span>${t("scale.distance")} <b>${number(match.distance)}</b></span>
        <span>${match.margin === null ? t("who.alone") : html`${t("who.margin")} <b>${number(match.margin)}</b>`}</span></p>`}
      ${nearest && html`<details><summary>${t("who.why")}</summary>
        <${Scale} distance=${nearest.distance} threshold=${face.threshold} interval=${face.interval} fmr=${face.fmr} fpir=${face.fpir} />
        <table><caption>${t("who.candidates")}</caption><tbody>${candidates.map((each) => html`<tr key=${each.subject}>
          <td dir="auto">${nameOf(each)}</td><td>${number(each.distance)}</td><td>${probability(each.probability)}</td></tr>`)}</tbody></table>
      </details>`}
      ${can("enrol", gallery.name) && html`<div class="row"><button class="small" disabled=${busy} onClick=${onEnrol}>${t(match ? "who.enrol.more" : "who.enrol")}</button>
        ${match && keeps && html`<${Sure} label=${t("who.not")} hint=${t("who.not.hint")} disabled=${busy} onClick=${() => enrol({ subject: match.subject, counter: true })} />`}
        ${unknown === "ignored" && nearest ? html`<${Sure} label=${t("who.tell")} disabled=${busy} onClick=${() => change(nearest.subject, false)} />`
          : (match || keeps) && html`<${Sure} label=${t("who.ignore")} hint=${t("who.ignore.hint")} disabled=${busy} onClick=${() => (match ? change(match.subject, true) : enrol({ ignored: true }))} />`}
      </div><${Notice} problem=${problem} />`}
    </div>
  </li>`;
}
