// What several screens are made of.

import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/htm-preact.js";
import { Problem, send } from "./api.js";
import { dropped, open } from "./images.js";
import { number, oneIn, percent, t, told } from "./texts.js";

/** Let screen readers say something. */
export function announce(text) {
  const live = document.getElementById("live");
  live.textContent = "";
  setTimeout(() => { live.textContent = text; }, 50);
}

/** Words for a problem, and what to do about it. */
export function words(problem) {
  if (!(problem instanceof Problem)) return { title: t("error.internal"), detail: String(problem && problem.message) };
  const title = told("error", problem.code, problem.detail || problem.code);
  const advice = told("advice", problem.code, "");
  const wait = problem.retryAfter ? t("advice.wait", { n: problem.retryAfter }) : "";
  return { title, detail: [advice, wait].filter(Boolean).join(" "), said: problem.detail };
}

export function Notice({ problem, retry }) {
  if (!problem) return null;
  const { title, detail, said } = words(problem);
  return html`<div class="notice" role="alert">
    <${Icon} name="warning" />
    <div>
      <strong>${title}</strong>
      ${detail && html`<p>${detail}</p>`}
      ${said && said !== title && html`<p class="quiet" lang="en">${said}</p>`}
      ${retry && html`<button class="small" onClick=${retry}>${t("retry")}</button>`}
    </div>
  </div>`;
}

const ICONS = {
  same: "M4 12.5l5 5L20 6.5",
  different: "M6 6l12 12M18 6L6 18",
  uncertain: "M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4M12 18v.2",
  warning: "M12 4l9 16H3zM12 10v4M12 17v.2",
  photo: "M4 6h16v12H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5v.1",
  camera: "M4 8h4l1.5-2h5L16 8h4v11H4zM12 16.5a3 3 0 1 0 0-6 3 3 0 0 0 0 6",
  link: "M10 14l4-4M9 11l-2 2a3 3 0 0 0 4 4l2-2M15 13l2-2a3 3 0 0 0-4-4l-2 2",
  close: "M7 7l10 10M17 7L7 17",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8M4 21c0-5 4-7 8-7s8 2 8 7",
  key: "M14 10a4 4 0 1 0-3 3.9L13 16h2v2h2v2h3v-3l-6.1-6.1",
};

export const Icon = ({ name }) => html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true"><path d=${ICONS[name]} /></svg>`;

export const Busy = ({ children }) => html`<p class="busy" role="status"><span class="spinner" /> ${children || t("busy")}</p>`;

/** A photo with its faces: frames that can be chosen, where onPick is given. */
export function Photo({ photo, faces = [], taken, onPick, labels = [], points = [], alt }) {
  const holder = useRef(null);
  useLayoutEffect(() => { holder.current.replaceChildren(photo.canvas); }, [photo]);
  const share = (value, of) => `${Math.round(10_000 * value / of) / 100}%`;
  return html`<div class="photo" style=${{ aspectRatio: `${photo.width} / ${photo.height}` }}>
    <div ref=${holder} role="img" aria-label=${alt || photo.name || t("photo")} />
    ${faces.map((face, at) => {
      const [left, top, right, bottom] = face.box_xyxy;
      const style = { left: share(left, photo.width), top: share(top, photo.height),
        width: share(right - left, photo.width), height: share(bottom - top, photo.height) };
      const kind = `frame ${at === taken ? "taken" : ""} ${labels[at] && labels[at].kind ? labels[at].kind : ""}`;
      const mark = labels[at] && html`<span class=${left > 0.7 * photo.width ? "mark atend" : "mark"}>${labels[at].text}</span>`;
      if (!onPick) return html`<div class=${kind} style=${style} key=${at} aria-hidden="true">${mark}</div>`;
      const label = at === taken ? t("face.taken", { n: at + 1 }) : t("face.take", { n: at + 1 });
      return html`<button class=${kind} style=${style} key=${at} aria-pressed=${at === taken ? "true" : "false"}
        aria-label=${label} title=${label} onClick=${() => onPick(at)}>${mark}</button>`;
    })}
    ${points.flat().map(([x, y], at) => html`<span class="dot" key=${`p${at}`} style=${{ left: share(x, photo.width), top: share(y, photo.height) }} />`)}
  </div>`;
}

export const Chip = ({ src, alt, children }) => html`<figure class="chip">
  ${src ? html`<img src=${src.startsWith("blob:") ? src : `data:image/jpeg;base64,${src}`} alt=${alt} width="112" height="112" />`
    : html`<span class="nopicture" role=${alt ? "img" : undefined} aria-label=${alt || undefined}><${Icon} name="person" /></span>`}
  ${children && html`<figcaption>${children}</figcaption>`}
</figure>`;

/** A picture that the server keeps, loaded when it comes into view; a silhouette where there is none. */
export function Kept({ where, alt, allowed = true }) {
  const holder = useRef(null);
  const [src, setSrc] = useState(null);
  useEffect(() => {
    if (!allowed || !where) return undefined;
    const gone = new AbortController();
    let url = null;
    const watcher = new IntersectionObserver(async ([entry]) => {
      if (!entry.isIntersecting) return;
      watcher.disconnect();
      try {
        const answer = await send("GET", `${where}?side=224`, { signal: gone.signal });
        url = URL.createObjectURL(await answer.blob());
        if (gone.signal.aborted) URL.revokeObjectURL(url);
        else setSrc(url);
      } catch { /* nothing is kept, or it is not for this key */ }
    }, { rootMargin: "200px" });
    watcher.observe(holder.current);
    return () => { watcher.disconnect(); gone.abort(); if (url) URL.revokeObjectURL(url); };
  }, [where, allowed]);
  return html`<span class="kept" ref=${holder}><${Chip} src=${src} alt=${alt} /></span>`;
}

/** A native dialog; it closes by Escape, and gives the focus back. */
export function Dialog({ title, onClose, children }) {
  const box = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    box.current.showModal();
    return () => { if (before && before.isConnected) before.focus(); }; // without closing it, which would be told
  }, []);
  return html`<dialog ref=${box} aria-label=${title} onClose=${onClose}>
    <header><h2>${title}</h2><button class="plain" aria-label=${t("close")} onClick=${() => box.current.close()}><${Icon} name="close" /></button></header>
    ${children}
  </dialog>`;
}

/** The camera: a live picture, and a button that takes a photo. */
function Camera({ onPhoto, onClose }) {
  const video = useRef(null);
  const [problem, setProblem] = useState(null);
  const [ready, setReady] = useState(false);
  useEffect(() => {
    let stream = null;
    let gone = false;
    (async () => {
      try {
        if (!navigator.mediaDevices) throw new Error("insecure");
        stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1920 }, facingMode: "user" } });
        if (gone) return stream.getTracks().forEach((track) => track.stop());
        video.current.srcObject = stream;
        await video.current.play();
        setReady(true);
      } catch (error) {
        const code = error.message === "insecure" ? "camera_insecure" : error.name === "NotAllowedError" ? "camera_refused" : "camera_missing";
        setProblem(new Problem({ code }));
      }
      return undefined;
    })();
    return () => { gone = true; if (stream) stream.getTracks().forEach((track) => track.stop()); };
  }, []);
  const take = () => {
    const canvas = document.createElement("canvas");
    canvas.width = video.current.videoWidth;
    canvas.height = video.current.videoHeight;
    canvas.getContext("2d").drawImage(video.current, 0, 0);
    canvas.toBlob((blob) => { onPhoto(new File([blob], "camera.jpg", { type: "image/jpeg" })); onClose(); }, "image/jpeg", 0.95);
  };
  return html`<${Dialog} title=${t("camera")} onClose=${onClose}>
    <${Notice} problem=${problem} />
    ${!problem && html`<video ref=${video} muted playsinline aria-label=${t("camera")} />
    <div class="actions"><button class="main" disabled=${!ready} onClick=${take}>${t("camera.take")}</button></div>`}
  </${Dialog}>`;
}

/** A place for photos: dropped, pasted, chosen, taken, or by URL. onSources gets sources: {file} or {url}. */
export function Drop({ onSources, multiple = false, folder = false, label, children, pastes = false, compact = false }) {
  const [over, setOver] = useState(false);
  const [asking, setAsking] = useState(null);
  const files = (list) => list.length && onSources((multiple ? list : list.slice(0, 1)).map((file) => ({ file })));
  const latest = useRef(files);
  latest.current = files;
  useEffect(() => {
    if (!pastes) return undefined;
    const paste = (event) => {
      const found = [...event.clipboardData.files].filter((file) => file.type.startsWith("image/"));
      if (found.length) { event.preventDefault(); latest.current(found); }
    };
    document.addEventListener("paste", paste);
    return () => document.removeEventListener("paste", paste);
  }, [pastes]);
  const drop = async (event) => {
    event.preventDefault();
    setOver(false);
    files(await dropped(event.dataTransfer));
  };
  const chosen = (event) => { files([...event.target.files]); event.target.value = ""; };
  const byUrl = (event) => {
    event.preventDefault();
    const url = new FormData(event.target).get("url").trim();
    if (url) { setAsking(null); onSources([{ url }]); }
  };
  return html`<div class=${`drop ${over ? "over" : ""} ${compact ? "compact" : ""}`} onDragOver=${(event) => { event.preventDefault(); setOver(true); }}
      onDragLeave=${() => setOver(false)} onDrop=${drop}>
    ${children || html`<div class="empty" aria-hidden="true"><${Icon} name="photo" /><p>${t(multiple ? "drop.many" : "drop.one")}</p></div>`}
    <div class="ways">
      <label class="button">${label}<input type="file" class="unseen" accept="image/*,.heic,.heif" multiple=${multiple} onChange=${chosen} aria-label=${label} /></label>
      ${folder && html`<label class="button">${t("drop.folder")}<input type="file" class="unseen" webkitdirectory multiple onChange=${chosen} aria-label=${t("drop.folder")} /></label>`}
      <button onClick=${() => setAsking("camera")}><${Icon} name="camera" /> ${t("camera")}</button>
      <button onClick=${() => setAsking("url")}><${Icon} name="link" /> ${t("url")}</button>
    </div>
    ${asking === "camera" && html`<${Camera} onPhoto=${(file) => files([file])} onClose=${() => setAsking(null)} />`}
    ${asking === "url" && html`<${Dialog} title=${t("url.title")} onClose=${() => setAsking(null)}>
      <form onSubmit=${byUrl}><label>${t("url.label")}<input name="url" type="url" required maxlength="2048" placeholder="https://" autofocus /></label>
      <p class="quiet">${t("url.hint")}</p><div class="actions"><button class="main">${t("url.fetch")}</button></div></form>
    </${Dialog}>`}
  </div>`;
}

/** Opens a source as a photo, keeping at most the last: [{source, photo, problem, busy}, take]. */
export function usePhoto() {
  const [state, setState] = useState({ source: null, photo: null, problem: null, busy: false });
  const last = useRef(null);
  const take = async (source) => {
    last.current = source;
    setState({ source, photo: null, problem: null, busy: true });
    const found = await open(source).then((photo) => ({ photo }), (problem) => ({ problem }));
    if (source === last.current) setState({ source, photo: null, problem: null, ...found, busy: false });
  };
  return [state, take];
}

/** Where a distance lies: the threshold, the uncertain zone around it, and both sides in words. */
export function Scale({ distance, threshold, interval, fmr, fpir }) {
  const most = Math.max(2 * threshold, 1.15 * distance);
  const at = (value) => `${Math.min(100, Math.max(0, 100 * value / most))}%`;
  const rate = fmr ? t("scale.fmr", { rate: oneIn(fmr) }) : fpir ? t("scale.fpir", { rate: oneIn(fpir) }) : "";
  const label = t("scale.label", { distance: number(distance, 3), threshold: number(threshold, 3) });
  return html`<div class="scale">
    <div class="bar" role="img" aria-label=${label}>
      <span class="near" style=${{ width: at(threshold) }} /><span class="far" style=${{ left: at(threshold) }} />
      ${interval && html`<span class="zone" style=${{ left: at(interval[0]), width: at(interval[1] - interval[0]) }} title=${t("scale.zone")} />`}
      <span class="line" style=${{ left: at(threshold) }} /><span class="pin" style=${{ left: at(distance) }} />
    </div>
    <div class="sides" aria-hidden="true"><span style=${{ width: at(threshold) }}>${t("scale.same")}</span><span>${t("scale.different")}</span></div>
    <p class="facts"><span>${t("scale.distance")} <b>${number(distance, 3)}</b></span><span>${t("scale.threshold")} <b>${number(threshold, 3)}</b></span>
      ${interval && html`<span class="zonekey">${t("scale.zone")} <b>${number(interval[0], 3)} – ${number(interval[1], 3)}</b></span>`}</p>
    ${rate && html`<p class="quiet">${rate}</p>`}
  </div>`;
}

export const nameOf = (subject) => subject.name || subject.subject || subject.id;

export const probability = (value) => (value === null || value === undefined ? "" : percent(value));

/** Calls once and whenever something of it changes: {value, problem, busy, again}. */
export function useCall(function_, on) {
  const [state, setState] = useState({ value: null, problem: null, busy: true });
  const [tries, setTries] = useState(0);
  useEffect(() => {
    const gone = new AbortController();
    setState((before) => ({ ...before, busy: true }));
    function_(gone.signal).then((value) => !gone.signal.aborted && setState({ value, problem: null, busy: false }),
      (problem) => !gone.signal.aborted && setState({ value: null, problem, busy: false }));
    return () => gone.abort();
  }, [...on, tries]);
  return { ...state, again: () => setTries((before) => before + 1) };
}

/** One act at a time: [act, problem, busy]. */
export function useAct() {
  const [state, setState] = useState({ problem: null, busy: false });
  const act = async (work) => {
    setState({ problem: null, busy: true });
    const problem = await work().then(() => null, (found) => found);
    setState({ problem, busy: false });
  };
  return [act, state.problem, state.busy];
}

/** A button that asks once more, and says what comes of it. */
export function Sure({ onClick, label, hint, shortcut, disabled, children }) {
  const [asking, setAsking] = useState(false);
  const really = useRef(null);
  useLayoutEffect(() => { if (asking) really.current.focus(); }, [asking]);
  if (!asking) return html`<button class="small" aria-keyshortcuts=${shortcut} disabled=${disabled} aria-label=${children ? label : undefined} onClick=${() => setAsking(true)}>${children || label}</button>`;
  return html`<span class="asking"><button class="danger small" aria-label=${`${label}: ${t("sure")}`} ref=${really} onBlur=${() => setAsking(false)}
    onClick=${() => { setAsking(false); onClick(); }}>${t("sure")}</button>${hint && html` <small role="status">${hint}</small>`}</span>`;
}

/** Let the reader keep something as a file. */
export function save(value, name) {
  const url = URL.createObjectURL(new Blob([JSON.stringify(value, null, 2)], { type: "application/json" }));
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
