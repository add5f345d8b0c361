// Status: what the server is made of, and how it does, from /metrics.

import { html, useEffect, useState } from "./vendor/htm-preact.js";
import { get, send } from "./api.js";
import { Busy, Icon, Notice, announce, useAct, useCall } from "./parts.js";
import { number, t } from "./texts.js";

const EVERY_MS = 5000;
const KEPT = 60; // moments in a chart

/** The samples of Prometheus's text format: [{name, labels, value}]. */
export function parse(text) {
  return text.split("\n").filter((line) => line && !line.startsWith("#")).map((line) => {
    const [, name, inner = "", value] = line.match(/^(\w+)(?:\{(.*)\})? (\S+)/) || [];
    return { name, labels: Object.fromEntries([...inner.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label, of]) => [label, of])), value: Number(value) };
  });
}

const sum = (samples, name, fits = () => true) => samples.filter((each) => each.name === name && fits(each.labels)).reduce((all, each) => all + each.value, 0);

/** By route: how many calls, how many failed, and within which time half of them, and 95 %, were answered. */
function routes(samples) {
  const all = {};
  for (const { name, labels, value } of samples) {
    if (!labels.route || !labels.route.startsWith("/v1/")) continue;
    const of = all[labels.route] ||= { calls: 0, failed: 0, buckets: [] };
    if (name === "visavis_requests_total") { of.calls += value; if (labels.status >= "500") of.failed += value; }
    if (name === "visavis_request_seconds_bucket") of.buckets.push([labels.le === "+Inf" ? Infinity : Number(labels.le), value]);
  }
  const within = (buckets, part) => {
    const sorted = [...buckets].sort((a, b) => a[0] - b[0]);
    const most = sorted.length ? sorted[sorted.length - 1][1] : 0;
    const found = sorted.find(([, count]) => count >= part * most);
    return found && most ? found[0] : null;
  };
  return Object.entries(all).filter(([, of]) => of.calls).sort((a, b) => b[1].calls - a[1].calls)
    .map(([route, of]) => ({ route, ...of, half: within(of.buckets, 0.5), most: within(of.buckets, 0.95) }));
}

function Chart({ title, values, unit = "" }) {
  const most = Math.max(1, ...values);
  const points = values.map((value, at) => `${(100 * (KEPT - values.length + at) / (KEPT - 1)).toFixed(1)},${(30 - 28 * value / most).toFixed(1)}`);
  const last = values[values.length - 1] || 0;
  return html`<figure class="chart"><figcaption>${title} <b>${number(last, 1)}${unit}</b></figcaption>
    <svg viewBox="0 0 100 31" preserveAspectRatio="none" role="img" aria-label=${t("status.chart", { title, now: number(last, 1), most: number(Math.max(0, ...values), 1) })}><polyline points=${points.join(" ")} vector-effect="non-scaling-stroke" /></svg></figure>`;
}

const Table = ({ label, heads, children }) => html`<div class="wide" tabindex="0" role="region" aria-label=${label}><table>
  <thead><tr>${heads.map((each) => html`<th scope="col" key=${each}>${t(`status.${each}`)}</th>`)}</tr></thead><tbody>${children}</tbody></table></div>`;

const time = (seconds) => (seconds === null ? "–" : seconds === Infinity ? "> 30 s" : seconds < 1 ? `≤ ${number(1000 * seconds, 0)} ms` : `≤ ${number(seconds, 1)} s`);

/** What the server finds when it checks itself. */
function Doctor() {
  const [checks, setChecks] = useState(null);
  const [act, problem, busy] = useAct();
  const look = () => act(async () => {
    const found = (await get("v1/doctor")).checks;
    setChecks(found);
    announce(t("doctor.problems", { n: found.flatMap((each) => each.problems).length }));
  });
  const problems = (checks || []).flatMap((each) => each.problems);
  return html`<section class="card"><h2>${t("doctor.title")}</h2><p class="quiet">${t("doctor.hint")}</p>
    <button disabled=${busy} onClick=${look}>${t("doctor.look")}</button>${busy && html`<${Busy} />`}<${Notice} problem=${problem} />
    ${checks && html`<p><${Icon} name=${problems.length ? "warning" : "same"} /> ${t("doctor.problems", { n: problems.length })}</p>
      <ul class="findings" lang="en">${problems.map((each, at) => html`<li key=${at}><strong>${each.problem}</strong><p>${each.remedy}</p></li>`)}</ul>
      ${checks.map(({ name, facts }) => html`<details key=${name} lang="en"><summary>${name}</summary><dl class="pairs">${Object.entries(facts).map(([fact, value]) => html`<div key=${fact}><dt>${fact}</dt><dd>${String(value ?? "–")}</dd></div>`)}</dl></details>`)}`}
  </section>`;
}

export function Status({ access, can }) {
  const models = useCall((signal) => get("v1/models", { signal }), []);
  const [moments, setMoments] = useState([]); // samples, with when they were read
  const [problem, setProblem] = useState(null);
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const gone = new AbortController();
    let later = 0;
    const look = async () => {
      try {
        if (!document.hidden) {
          const samples = parse(await (await send("GET", "metrics", { signal: gone.signal })).text());
          setMoments((before) => [...before, { at: performance.now(), samples }].slice(-KEPT));
          setProblem(null);
        }
        later = setTimeout(look, EVERY_MS);
      } catch (found) { if (!gone.signal.aborted) setProblem(found); }
    };
    look();
    return () => { gone.abort(); clearTimeout(later); };
  }, [turn]);
  const now = moments.length ? moments[moments.length - 1].samples : [];
  const info = (now.find((each) => each.name === "visavis_model_info") || { labels: {} }).labels;
  const series = (name) => moments.map((moment) => sum(moment.samples, name));
  const perSecond = (name, fits) => moments.slice(1).map((moment, at) =>
    Math.max(0, sum(moment.samples, name, fits) - sum(moments[at].samples, name, fits)) / ((moment.at - moments[at].at) / 1000));
  const pack = models.value && models.value.packs.find((each) => each.name === models.value.default);
  const work = ({ route }) => route.startsWith("/v1/");
  return html`
    <h1 tabindex="-1">${t("nav.status")}</h1><p class="lead">${t("status.lead")}</p>
    <${Notice} problem=${problem} retry=${() => setTurn(turn + 1)} />
    <section class="card"><h2>${t("status.now")}</h2>
      <dl class="pairs"><div><dt>${t("status.version")}</dt><dd>${access.version}</dd></div>
        ${Object.entries(info).filter(([name]) => name !== "version").map(([name, value]) => html`<div key=${name}><dt>${t(`status.${name}`)}</dt><dd>${value}</dd></div>`)}
        <div><dt>${t("status.images")}</dt><dd>${number(sum(now, "visavis_images_total"), 0)}</dd></div>
        <div><dt>${t("status.faces")}</dt><dd>${number(sum(now, "visavis_faces_total"), 0)}</dd></div></dl>
      <div class="charts"><${Chart} title=${t("status.calls")} values=${perSecond("visavis_requests_total", work)} unit=" /s" />
        <${Chart} title=${t("status.busy")} values=${series("visavis_pool_busy")} unit=${` / ${sum(now, "visavis_pool_workers")}`} />
        <${Chart} title=${t("status.waiting")} values=${series("visavis_pool_waiting")} unit=${` / ${sum(now, "visavis_pool_queue")}`} /></div>
    </section>
    <section class="card"><h2>${t("status.routes")}</h2><${Table} label=${t("status.routes")} heads=${["route", "count", "failed", "half", "most"]}>${routes(now).map((each) => html`<tr key=${each.route}><td><code>${each.route}</code></td><td>${number(each.calls, 0)}</td><td>${number(each.failed, 0)}</td><td>${time(each.half)}</td><td>${time(each.most)}</td></tr>`)}</${Table}></section>
    <${Notice} problem=${models.problem} retry=${models.again} />${models.busy && html`<${Busy} />`}
    ${can("admin") && !access.galleries.length && html`<${Doctor} />`}
    ${pack && html`<section class="card"><h2>${t("status.inuse", { name: pack.name })}</h2><p lang="en">${pack.summary}</p>
      <dl class="pairs">${Object.entries(pack.operating_points).map(([name, threshold]) => html`<div key=${name}><dt>${t(`point.${name}`)}</dt><dd>${number(threshold, 3)}</dd></div>`)}
        <div><dt>${t("status.metric")}</dt><dd>${pack.metric}, ${pack.dimension}</dd></div></dl><p class="quiet" lang="en">${pack.threshold_provenance}</p></section>`}
    ${models.value && html`<section class="card"><h2>${t("status.packs")}</h2><${Table} label=${t("status.packs")} heads=${["pack", "licences", "commercial", "installed"]}>${models.value.packs.map((each) => html`<tr key=${each.name}><td><b>${each.name}</b><br /><small lang="en">${each.summary}</small></td><td lang="en">${[...new Set(each.files.map((file) => file.licence))].join(", ")}</td>
        <td>${t(each.commercial_use ? "yes" : "no")}</td><td>${t(each.installed ? "yes" : "no")}</td></tr>`)}</${Table}></section>`}`;
}
