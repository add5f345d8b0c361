// Photos: opened, shown small, cut. A photo is {source, name, width, height, canvas}; its source {file} or {url}.

import { Problem, body, call } from "./api.js";

const LONGEST = 1280; // of what is shown
const MARGIN = 0.9; // around a face that is cut out, in its own size
const HUGE = 60_000_000; // pixels: beyond these the server's preview is shown

function drawn(image, width, height) {
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return canvas;
}

async function bitmapOf(blob) {
  return blob.size ? createImageBitmap(blob) : Promise.reject(new Error("empty"));
}

async function previewed(source) {
  const found = await call("POST", "v1/preview", await body({ image: source }, { side: LONGEST }));
  const data = Uint8Array.from(atob(found.jpeg), (letter) => letter.charCodeAt(0));
  const bitmap = await bitmapOf(new Blob([data], { type: "image/jpeg" }));
  const canvas = drawn(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  return { width: found.size_wh[0], height: found.size_wh[1], canvas };
}

/** Open a file or a URL. Where the browser cannot show it, the server's upright preview is shown. */
export async function open(source) {
  const name = source.file ? source.file.name || "" : source.url;
  let bitmap = null;
  if (source.file) bitmap = await bitmapOf(source.file).catch(() => null);
  if (!bitmap || bitmap.width * bitmap.height > HUGE) return { source, name, ...(await previewed(source)) };
  const { width, height } = bitmap;
  const canvas = drawn(bitmap, width, height);
  bitmap.close(); // the photo at its full size is held no longer
  return { source, name, width, height, canvas };
}

/** Cut a face out of a photo, at its full size where the browser can read it: a source. */
export async function cut(photo, [left, top, right, bottom]) {
  const bitmap = photo.source.file ? await bitmapOf(photo.source.file).catch(() => null) : null;
  const from = bitmap || photo.canvas;
  const scale = from.width / photo.width;
  const margin = MARGIN * Math.max(right - left, bottom - top);
  const x = Math.max(0, left - margin) * scale;
  const y = Math.max(0, top - margin) * scale;
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(Math.min(photo.width, right + margin) * scale - x));
  canvas.height = Math.max(1, Math.round(Math.min(photo.height, bottom + margin) * scale - y));
  canvas.getContext("2d").drawImage(from, x, y, canvas.width, canvas.height, 0, 0, canvas.width, canvas.height);
  if (bitmap) bitmap.close();
  const blob = await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.95));
  if (!blob) throw new Problem({ code: "invalid_image" });
  return { file: new File([blob], photo.name.replace(/[^\w.-]+/g, "_").slice(-80) || "face.jpg", { type: "image/jpeg" }) };
}

/** The part of the joint area of two boxes that both have. */
export function overlap(a, b) {
  const side = (at) => Math.max(0, Math.min(a[at + 2], b[at + 2]) - Math.max(a[at], b[at]));
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  const both = side(0) * side(1);
  return both / (area(a) + area(b) - both || 1);
}

const isImage = (file) => file.type.startsWith("image/") || /\.(jpe?g|png|webp|gif|bmp|tiff?|hei[cf]|avif)$/i.test(file.name);

/** All images that were dropped, of folders too. */
export async function dropped(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry && item.webkitGetAsEntry()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return [...transfer.files];
  const files = [];
  for (const waiting = [...entries]; waiting.length;) {
    const entry = waiting.shift();
    if (entry.isFile) files.push(await new Promise((done, fail) => entry.file(done, fail)));
    else {
      const reader = entry.createReader();
      for (;;) { // as long as there are more, a hundred at a time
        const found = await new Promise((done, fail) => reader.readEntries(done, fail));
        if (!found.length) break;
        waiting.push(...found);
      }
    }
  }
  return files.filter(isImage);
}

export const imagesOf = (list) => [...list].filter(isImage);
