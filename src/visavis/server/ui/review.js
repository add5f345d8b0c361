// Review: faces that were nobody's for certain, in groups, until somebody says whose they are.

import { html, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { Problem, call, get, path } from "./api.js";
import { EnrolDialog, InGallery, Policy, one, pictureOf } from "./gallery.js";
import { Busy, Icon, Kept, Notice, Sure, announce, nameOf, probability, useAct } from "./parts.js";
import { day, number, t, told } from "./texts.js";

const PAGE = 20; // groups

export function Review({ rest, can }) {
  return html`<${InGallery} screen="review" rest=${rest} can=${can} lead=${t("review.lead")}>
    ${(gallery, galleries) => (!can("admin", gallery.name) ? html`<p>${t("needs.admin")}</p>`
      : html`<${Queue} key=${gallery.name} gallery=${gallery} again=${galleries.again} />`)}
  </${InGallery}>`;
}

const queue = (gallery) => `v1/galleries/${path(gallery.name)}/review`;

function Queue({ gallery, again }) {
  const [groups, setGroups] = useState(null);
  const [cursor, setCursor] = useState(null);
  const [least, setLeast] = useState(0);
  const [policy, setPolicy] = useState(false);
  const [act, problem, busy] = useAct();
  const list = useRef(null);
  const turn = useRef(0);
  const more = (before, from) => act(async () => {
    const mine = ++turn.current;
    const page = await get(`${queue(gallery)}?limit=${PAGE}${least ? `&min_quality=${least}` : ""}${from ? `&cursor=${encodeURIComponent(from)}` : ""}`);
    if (mine !== turn.current) return;
    setGroups([...before, ...page.groups.map((each) => each.faces)]);
    setCursor(page.next_cursor);
  });
  useEffect(() => {
    const later = setTimeout(() => more([], ""), least ? 250 : 0);
    return () => clearTimeout(later);
  }, [least]);
  const go = (at) => { // to a group, or to the last one
    const all = list.current.children;
    const to = all[Math.min(Math.max(at, 0), all.length - 1)];
    if (to) to.firstChild.focus(); else document.querySelector("h1").focus();
  };
  const gone = (at, faces) => {
    const left = (before) => before.map((each) => each.filter((face) => !faces.includes(face.number))).filter((each) => each.length);
    setGroups(left);
    setTimeout(() => go(at)); // to what is left, or to the next one
    if (!left(groups).length && cursor) more([], "");
  };
  const keys = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("dialog")) return;
    const group = event.target.closest(".people > li");
    const step = { j: 1, k: -1 }[event.key];
    const button = group && group.querySelector(`[aria-keyshortcuts="${CSS.escape(event.key)}"]`);
    if (step || button) event.preventDefault();
    if (step) go([...list.current.children].indexOf(group) + step); else if (button) button.click();
  };
  return html`
    ${gallery.policy.review_days === null ? html`<p>${t("review.off")}</p>` : html`<p class="quiet">${t("review.days", { n: number(gallery.policy.review_days) })}</p>`}
    <div class="row spread toolbar"><label class="choice">${t("review.least")}<input type="range" min="0" max="0.9" step="0.05" value=${least} onInput=${(event) => setLeast(Number(event.target.value))} /> <output>${number(least)}</output></label>
      <button onClick=${() => setPolicy(true)}>${t("gallery.policy")}</button></div>
    ${groups && groups.length > 0 && html`<p class="quiet toolbar">${t("review.keys")}</p>`}
    <ul class="people" ref=${list} onKeyDown=${keys}>${(groups || []).map((faces, at) => html`<li key=${Math.min(...faces.map((face) => face.number))}><${Group} gallery=${gallery} faces=${faces} onGone=${(some) => gone(at, some)} /></li>`)}</ul>
    ${groups && !groups.length && !busy && !problem && html`<p class="centre" role="status">${t("review.none")}</p>`}
    <${Notice} problem=${problem} retry=${() => more(groups || [], cursor)} />${busy && html`<${Busy} />`}
    ${cursor && !busy && html`<button onClick=${() => more(groups, cursor)}>${t("review.more")}</button>`}
    ${policy && html`<${Policy} gallery=${gallery} onClose=${() => setPolicy(false)} onDone=${() => { setPolicy(false); again(); }} />`}`;
}

/** Faces that are likely one person's. What is done is done to those that were chosen, or else to all. */
function Group({ gallery, faces, onGone }) {
  const [chosen, setChosen] = useState([]);
  const [naming, setNaming] = useState(false);
  const [act, problem, busy] = useAct();
  const picked = faces.filter((face) => chosen.includes(face.number));
  const meant = picked.length ? picked : faces;
  const numbers = meant.map((face) => face.number);
  const near = meant.map((face) => face.candidate).filter(Boolean).sort((a, b) => a.distance - b.distance);
  const [likely] = near;
  const tell = (verb, more) => call("POST", `${queue(gallery)}/${verb}`, { json: { faces: numbers, ...more } });
  const left = (made) => {
    const refused = (made.results || []).map((each) => each.error);
    const done = numbers.filter((_, at) => !refused[at]);
    announce(t("review.done", { n: done.length }));
    onGone(done);
    return refused.find(Boolean);
  };
  const all = (verb, more) => act(async () => {
    const refused = left(await tell(verb, more));
    if (refused) throw new Problem(refused);
  });
  const choose = (face) => setChosen(chosen.includes(face) ? chosen.filter((each) => each !== face) : [...chosen, face]);
  const [first] = meant;
  return html`<section class="card" tabindex="-1" aria-label=${t("try.done", { n: faces.length })}>
    <h2>${t("try.done", { n: faces.length })} <small>${picked.length > 0 && t("review.chosen", { n: picked.length })}</small></h2>
    <p>${first.unknown ? told("unknown", first.unknown, told("reason", first.unknown)) : t("who.uncertain")}</p>
    <ul class="faces">${faces.map((face) => html`<li key=${face.number}><label><input type="checkbox" checked=${chosen.includes(face.number)} onChange=${() => choose(face.number)} />
      <${Kept} where=${`${queue(gallery)}/${face.number}/picture`} alt=${t("who.face", { n: face.number })} /><small>${day(face.seen_at)}${face.quality && html`<br />${t("review.sharpness", { n: number(face.quality.sharpness) })}`}</small></label></li>`)}</ul>
    ${likely && html`<div class="row"><${Kept} where=${pictureOf(gallery.name, likely)} alt=${t("who.sample", { name: nameOf(likely) })} />
      <p>${t("review.is")} <a href=${`#/${path("people", gallery.name, likely.subject)}`} dir="auto">${nameOf(likely)}</a><br /><small>${t("scale.distance")} ${number(likely.distance)} · ${probability(likely.probability)}</small></p>
      <button class="main" aria-keyshortcuts="y" disabled=${busy} onClick=${() => all("name", { subject: likely.subject, allow_conflict: true })}><${Icon} name="same" /> ${t("review.yes")}</button></div>`}
    <div class="row"><button class="small" aria-keyshortcuts="n" disabled=${busy} onClick=${() => setNaming(true)}>${t("review.name")}</button>
      <${Sure} label=${t("who.ignore")} hint=${t("who.ignore.hint")} shortcut="i" disabled=${busy} onClick=${() => all("ignore")} />
      <${Sure} label=${t("review.discard")} hint=${t("review.discard.hint")} shortcut="d" disabled=${busy} onClick=${() => all("discard")} /></div>
    <${Notice} problem=${problem} />
    ${naming && html`<${EnrolDialog} gallery=${gallery} names=${numbers.map((n) => t("who.face", { n }))} near=${near} pictures=${true} send=${(more) => tell("name", more)}
      onClose=${() => setNaming(false)} onDone=${(made) => { setNaming(false); left(made); }} />`}
  </section>`;
}
