// Checked, not run: what the declarations allow, and what they do not.
import { Client, VisavisError, type Detected, type Face, type Found, type VerifyResponse } from "../index.js";

const client = new Client("http://localhost:8000", { key: "vv_", timeout: 5000 });
const bytes = new Uint8Array(1);

export async function allowed(signal: AbortSignal): Promise<number> {
  const result: VerifyResponse = await client.verify(bytes, "https://example.com/a.jpg", { fmr: "strict", signal });
  const faces: Found<Face, Detected> = await client.detect(new Blob([]), { quality: true, attributes: ["pose"], min_face: 0.05 });
  const [found] = await client.embedMany([new URL("https://example.com/a.jpg"), bytes.buffer]);
  if (found instanceof VisavisError) return found.retryAfter ?? found.status;
  const team = await client.createGallery("team", { policy: { keep: "chips", threshold: null } });
  const { results } = await team.enrol([bytes], { subject: "ada", metadata: { team: 1 }, idempotencyKey: "1" });
  for (const each of results) each.error ? each.error.code === "blurred" : each.sample;
  for (const face of await team.identify(bytes, { limit: 3 })) face.match?.subject.at(0) ?? face.unknown;
  for await (const line of team.import([{ subject: "ada", image: bytes }])) if (!line.error) line.subject.id;
  const ada = await team.subject("ada");
  await team.update("ada", { name: null, id: "ada-2" }, { version: ada });
  return result.distance + (faces.searched_from_px ?? faces.length) + found!.length;
}

export async function refused(): Promise<void> {
  // @ts-expect-error: there is no such option
  await client.verify(bytes, bytes, { treshold: 1 });
  // @ts-expect-error: there is no such choice
  await client.detect(bytes, { faces: "first" });
  // @ts-expect-error: a number is no image
  await client.detect(1);
  // @ts-expect-error: there is no such code
  new VisavisError().code === "no_such_code";
  // @ts-expect-error: faces of detect have no embedding
  (await client.detect(bytes))[0]!.embedding;
}
