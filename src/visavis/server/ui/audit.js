// Audit: what there is to mend in a gallery, side by side, each with what mends it.

import { html, useState } from "./vendor/htm-preact.js";
import { call, get, path } from "./api.js";
import { InGallery, one, pictureOf } from "./gallery.js";
import { Busy, Icon, Kept, Notice, Sure, announce, probability, useAct } from "./parts.js";
import { number, t, told } from "./texts.js";

const SHOWN = 50; // of each kind at first

export function Audit({ rest, can }) {
  return html`<${InGallery} screen="audit" rest=${rest} can=${can} lead=${t("audit.lead")}>
    ${(gallery) => (can("admin", gallery.name) ? html`<${Report} key=${gallery.name} gallery=${gallery} />` : html`<p>${t("needs.admin")}</p>`)}
  </${InGallery}>`;
}

function Report({ gallery }) {
  const [report, setReport] = useState(null);
  const [act, problem, busy] = useAct();
  const look = () => act(async () => {
    setReport(null);
    const found = await get(`v1/galleries/${path(gallery.name)}/audit`);
    setReport(found);
    announce(t("audit.done", { subjects: found.subjects, samples: found.samples }));
  });
  return html`<button class="main" disabled=${busy} onClick=${look}>${t(report ? "audit.again" : "audit.look", { n: gallery.samples })}</button>
    ${busy && html`<${Busy}>${t("audit.busy")}</${Busy}>`}<${Notice} problem=${problem} retry=${look} />
    ${report && html`<p role="status">${t("audit.done", { subjects: number(report.subjects, 0), samples: number(report.samples, 0) })}</p>
      <${Kind} name="duplicates" items=${report.duplicates}>${(each) => html`<${Two} gallery=${gallery.name} pair=${each} />`}</${Kind}>
      <${Kind} name="confusable" items=${report.confusable}>${(each) => html`<${Two} gallery=${gallery.name} pair=${each} />`}</${Kind}>
      <${Kind} name="outliers" items=${report.outliers}>${(each) => html`<${Odd} gallery=${gallery.name} sample=${each}>
        ${t("audit.outlier", { distance: number(each.distance) })} ${each.nearest && html`${t("audit.nearest")} <${Who} gallery=${gallery.name} id=${each.nearest} />`}</${Odd}>`}</${Kind}>
      <${Kind} name="low_quality" items=${report.low_quality}>${(each) => html`<${Odd} gallery=${gallery.name} sample=${each}>${each.reasons.map((reason) => told("error", reason)).join(", ")}</${Odd}>`}</${Kind}>
      <${Kind} name="lookalikes" items=${report.lookalikes}>${(each) => html`<p>${each.map((id, at) => html`${at > 0 && " · "}<${Who} gallery=${gallery.name} id=${id} />`)}</p>`}</${Kind}>`}`;
}

const Who = ({ gallery, id }) => html`<a href=${`#/${path("people", gallery, id)}`} dir="auto">${id}</a>`;

function Kind({ name, items, children }) {
  const [shown, setShown] = useState(SHOWN);
  return html`<section class="card"><h2>${t(`audit.${name}`)} <small>${number(items.length, 0)}</small></h2><p class="quiet">${t(`audit.${name}.hint`)}</p>
    ${items.length ? html`<ul class="findings">${items.slice(0, shown).map((each, at) => html`<li key=${at}>${children(each)}</li>`)}</ul>` : html`<p><${Icon} name="same" /> ${t("audit.none")}</p>`}
    ${items.length > shown && html`<button onClick=${() => setShown(shown + SHOWN)}>${t("audit.more", { n: items.length - shown })}</button>`}
  </section>`;
}

/** Two people whose nearest samples stand side by side; one may go into the other. */
function Two({ gallery, pair }) {
  const [done, setDone] = useState(false);
  const [act, problem] = useAct();
  const merge = (from, into) => act(async () => { await call("POST", `${one(gallery, from)}/merge`, { json: { into } }); announce(t("merge.done")); setDone(true); });
  if (done) return html`<p><${Icon} name="same" /> ${t("merge.done")}</p>`;
  return html`<div class="two">${[pair.a, pair.b].map((id, at) => html`<div key=${id}><${Kept} where=${pictureOf(gallery, { subject: id, sample: pair.samples[at] })} alt="" /><${Who} gallery=${gallery} id=${id} /></div>`)}
    <div class="grow"><p class="facts"><span>${t("scale.distance")} <b>${number(pair.distance)}</b></span>${pair.probability !== null && html`<span>${t("probability")} <b>${probability(pair.probability)}</b></span>`}</p>
      <div class="row">${[[pair.b, pair.a], [pair.a, pair.b]].map(([from, into]) => html`<${Sure} key=${from} label=${t("audit.merge", { from, into })} onClick=${() => merge(from, into)} />`)}</div>
      <${Notice} problem=${problem} /></div></div>`;
}

function Odd({ gallery, sample, children }) {
  const [done, setDone] = useState(false);
  const [act, problem] = useAct();
  const forget = () => act(async () => { await call("DELETE", `${one(gallery, sample.subject)}/samples/${sample.sample}`); announce(t("samples.forgotten")); setDone(true); });
  if (done) return html`<p><${Icon} name="same" /> ${t("samples.forgotten")}</p>`;
  return html`<div class="two"><div><${Kept} where=${pictureOf(gallery, sample)} alt=${t("samples.alt", { n: sample.sample })} /><${Who} gallery=${gallery} id=${sample.subject} /></div>
    <div class="grow"><p>${children}</p><${Sure} label=${t("samples.forget.label", { n: sample.sample })} onClick=${forget} /><${Notice} problem=${problem} /></div></div>`;
}
