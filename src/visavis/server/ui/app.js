// The frame of the page: where one is, who may do what, and in which language.

import { html, render, useEffect, useRef, useState } from "./vendor/htm-preact.js";
import { asked, get, key, may } from "./api.js";
import { Audit } from "./audit.js";
import { Compare } from "./compare.js";
import { Who } from "./identify.js";
import { Busy, Dialog, Icon, Notice, useAct, words } from "./parts.js";
import { People } from "./people.js";
import { Review } from "./review.js";
import { Status } from "./status.js";
import { Try } from "./try.js";
import { LANGUAGES, language, load, t } from "./texts.js";

const SCREENS = { compare: Compare, who: Who, people: People, review: Review, audit: Audit, try: Try, status: Status };

/** Where one is: the screen, and the parts of the address after it. */
function place() {
  const [screen, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map((part) => {
    try { return decodeURIComponent(part); } catch { return part; }
  });
  return { screen: SCREENS[screen] ? screen : "compare", rest };
}

function KeyDialog({ problem, onDone, onClose }) {
  const [act, found, busy] = useAct();
  const wrong = found || problem;
  const submit = (event) => {
    event.preventDefault();
    const before = key.get();
    key.set(new FormData(event.target).get("key").trim());
    act(async () => onDone(await get("v1/access").catch((failed) => { key.set(before); throw failed; })));
  };
  return html`<${Dialog} title=${t("key.title")} onClose=${onClose}>
    <form onSubmit=${submit}>
      <p>${t("key.why")}</p>
      <label>${t("key.label")}<input name="key" type="password" required autocomplete="off" spellcheck=${false} autofocus aria-invalid=${wrong ? "true" : "false"} /></label>
      ${wrong && html`<p class="wrong" role="alert">${words(wrong).title}</p>`}
      <p class="quiet">${t("key.kept")}</p>
      <div class="actions"><button class="main" disabled=${busy}>${t("key.use")}</button>
      ${key.get() && html`<button type="button" onClick=${() => { key.set(""); onDone(null); }}>${t("key.forget")}</button>`}</div>
    </form>
  </${Dialog}>`;
}

function Page() {
  const [here, setHere] = useState(place());
  const [access, setAccess] = useState(null);
  const [problem, setProblem] = useState(null);
  const [asking, setAsking] = useState(null); // {problem} while a key is asked for
  const [turn, setTurn] = useState(0); // of the screen, which begins anew with another key or language
  const main = useRef(null);
  const enter = async (known) => {
    try {
      setAccess(known || await get("v1/access"));
      setProblem(null);
    } catch (found) {
      setAccess(null);
      if (found.status !== 401) setProblem(found);
    }
    setTurn((before) => before + 1);
  };
  useEffect(() => {
    const moved = () => setHere(place());
    addEventListener("hashchange", moved);
    moved(); // what was followed while the page began
    asked.forKey = (told) => setAsking((before) => before || { problem: key.get() ? told : null });
    enter();
    return () => removeEventListener("hashchange", moved);
  }, []);
  const first = useRef(true);
  useEffect(() => { // whoever follows a link is told where it led, and goes on from there
    document.title = `${t(`nav.${here.screen}`)} · visavis`;
    if (!first.current) { const title = main.current.querySelector("h1"); if (title) title.focus(); scrollTo(0, 0); }
    first.current = false;
  }, [here.screen, here.rest.join("/")]);
  const Screen = SCREENS[here.screen];
  const speak = async (event) => { await load(event.target.value); setTurn((before) => before + 1); };
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>${t("skip")}</a>
    <header class="top">
      <a class="brand" href="#/compare"><img src="icon.svg" alt="" width="28" height="28" /> visavis</a>
      <nav aria-label=${t("nav")}>${Object.keys(SCREENS).map((name) => html`<a key=${name} href=${`#/${name}`}
        aria-current=${name === here.screen ? "page" : undefined}>${t(`nav.${name}`)}</a>`)}</nav>
      <div class="tools">
        ${access && access.key && html`<button class="plain" onClick=${() => setAsking({})}><${Icon} name="key" /> ${t(`scope.${access.scope}`)}</button>`}
        <select class="plain" aria-label=${t("language")} value=${language} onChange=${speak}>
          ${Object.entries(LANGUAGES).map(([code, name]) => html`<option value=${code} lang=${code} key=${code}>${name}</option>`)}
        </select>
      </div>
    </header>
    <main id="main" tabindex="-1" ref=${main}>
      <${Notice} problem=${problem} retry=${() => enter()} />
      ${access && html`<${Screen} key=${`${turn} ${here.screen}`} rest=${here.rest} access=${access} can=${(scope, gallery) => may(access, scope, gallery)} />`}
      ${!access && !problem && (turn === 0 ? html`<${Busy} />` : html`<div class="centre"><h1 tabindex="-1">${t("key.title")}</h1><p>${t("key.why")}</p>
        <button class="main" onClick=${() => setAsking({})}>${t("key.enter")}</button></div>`)}
    </main>
    <footer><span>visavis ${access ? access.version : ""}</span> <a href="../docs">${t("docs")}</a></footer>
    ${asking && html`<${KeyDialog} problem=${asking.problem} onClose=${() => setAsking(null)}
      onDone=${(known) => { setAsking(null); enter(known); }} />`}`;
}

load().then(() => render(html`<${Page} />`, document.getElementById("app")));
