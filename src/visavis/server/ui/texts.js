// Texts of the page in the reader's language; each language is a file in texts/.

export const LANGUAGES = { en: "English", de: "Deutsch", fr: "Français", es: "Español", zh: "中文" };
const KEPT = "visavis-language";

let texts = {};
export let language = "en";

export async function load(wanted) {
  const known = (name) => Object.keys(LANGUAGES).find((each) => name && name.toLowerCase().startsWith(each));
  language = [wanted, localStorage.getItem(KEPT), ...navigator.languages].map(known).find(Boolean) || "en";
  if (wanted) localStorage.setItem(KEPT, wanted);
  texts = await (await fetch(`texts/${language}.json`)).json();
  document.documentElement.lang = language;
}

/** The text of a key, with values in the places of their {names}. */
export function t(key, values = {}) {
  const text = texts[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (place, name) => values[name] ?? place);
}

/** The text of a key that a server's word completes, such as a code; the other text where there is none. */
export function told(prefix, word, other) {
  return texts[`${prefix}.${word}`] ?? other ?? word;
}

export const number = (value, digits = 2) => value.toLocaleString(language, { maximumFractionDigits: digits });

export function percent(value) {
  // Nobody is sure: neither 0 nor 100 %.
  const bounded = Math.min(0.999, Math.max(0.001, value));
  const text = bounded.toLocaleString(language, { style: "percent", maximumFractionDigits: bounded > 0.1 && bounded < 0.9 ? 0 : 1 });
  return value > 0.999 ? `> ${text}` : value < 0.001 ? `< ${text}` : text;
}

/** "1 in 10,000", for a rate. */
export const oneIn = (rate) => t("rate", { n: Math.round(1 / rate).toLocaleString(language) });

export const day = (moment) => new Date(moment).toLocaleDateString(language, { dateStyle: "medium" });
