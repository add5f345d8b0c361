/** Client of a visavis server. All that calls take and answer is declared in api.d.ts, made of the OpenAPI document. */

import type {
  Access, AuditReport, Candidate, CompareRequest, Comparison, Detected, Diagnosis, Embedded, EmbeddedFace, EnrolRequest,
  EnrolResponse, FacesNamed, Failed, FieldError,
  Gallery as GalleryRecord, GalleryRules, Identification, Identified, IdentifyRequest, ImagesRequest, LogEntry,
  ModelsResponse, NewGallery, PolicyChange, Preview, PreviewRequest, Receipt, ReviewGroup, Sample, ServerCode, Split,
  Subject, SubjectChange, SubjectDetail, SubjectExport, SubjectVerification, VerifyRequest, VerifyResponse, VerifySubjectRequest,
} from "./api.js";

export type * from "./api.js";

/** An encoded image: bytes, a file, or where to fetch it: an http, https or data URL. */
export type ImageSource = Blob | ArrayBuffer | ArrayBufferView | URL | string;
export type Embedding = ArrayLike<number>;
/** What is found in an image: a list, beside which stands what else is told of the image. */
export type Found<Item, Result extends { faces: unknown }> = Item[] & Readonly<Omit<Result, "faces">>;
/** A face without its embedding. */
export type Face = Detected["faces"][number];
/** What the server says; or that it cannot be reached, does not answer in time, or is none of visavis. */
export type ErrorCode = ServerCode | "unreachable" | "timeout" | "unexpected";

export interface Call {
  /** Ends the call; what it was aborted with is thrown. */
  signal?: AbortSignal;
}

/** Makes a change only if the subject still is as it was read; else `version_mismatch`. */
export interface Conditional extends Call {
  version?: Pick<Subject, "number" | "version">;
}

export interface Once extends Call {
  /** A call repeated with the same key enrols nobody twice; made up where none is given. */
  idempotencyKey?: string;
}

export interface Settings {
  /** An API key, where the server requires one. */
  key?: string;
  /** Milliseconds in which an answer must be there. Default 30,000. */
  timeout?: number;
  /** How often a call is tried again that the server was too busy for, or that did not reach it. Default 3. */
  retries?: number;
  /** In place of the global one. */
  fetch?: typeof globalThis.fetch;
}

/** What a call asks beyond those that have methods. */
export interface Request extends Call {
  json?: unknown;
  body?: BodyInit;
  query?: Record<string, unknown>;
  headers?: Record<string, string>;
  /** Never try again what the server may have got and not answered. */
  once?: boolean;
  /** Return as soon as the answer begins. */
  stream?: boolean;
}

export interface Logged extends Call {
  /** In place of the oldest first. */
  newest_first?: boolean;
}

export interface ReviewOptions extends Call {
  /** Least sharpness of a face. */
  min_quality?: number;
  /** Mean distance below which faces are of one group. */
  tolerance?: number;
}

export interface Pictured extends Call {
  /** Most pixels a side. */
  side?: number;
}

type Whole<Body, Images extends keyof Body> = Omit<Body, Images> & Call;
export type DescribeOptions = Whole<ImagesRequest, "images">;
export type CompareOptions = Whole<CompareRequest, "pairs">;
export type VerifyOptions = Whole<VerifyRequest, "a" | "b">;
export type EnrolOptions = Whole<EnrolRequest, "images" | "embeddings" | "qualities" | "like"> & Once & {
  /** An image of the person alone, which says whose face is meant. */
  like?: ImageSource;
};
export type EnrolEmbeddingsOptions = Whole<EnrolRequest, "images" | "embeddings" | "like"> & Once;
export type IdentifyOptions = Whole<IdentifyRequest, "images" | "embeddings">;
export type VerifySubjectOptions = Whole<VerifySubjectRequest, "image" | "embedding">;
export type ImportOptions =
  Pick<EnrolRequest, "allow_conflict" | "counter" | "create" | "faces" | "min_face"> & Call;
export type Enrolled = Exclude<EnrolResponse["results"][number], Failed>;

/** A line of an import: one of an export, or with an image in place of the embedding. */
export type Line =
  | Record<string, unknown>
  | (Omit<EnrolRequest, "images" | "embeddings"> & { image: ImageSource; key?: string });
export type Imported =
  | ({ line: number; subject: Subject; error?: undefined } & Enrolled)
  | { line: number; error: VisavisError };

/** What went wrong. Programs may rely on `code`; `message` is for people. */
export declare class VisavisError extends Error {
  readonly name: "VisavisError";
  readonly code: ErrorCode;
  /** Of HTTP; 0 where there was no answer. */
  readonly status: number;
  /** By which the server's log knows the call. */
  readonly requestId: string | null;
  /** Seconds after which the server wants to be asked again. */
  readonly retryAfter: number | null;
  /** The part of the call that is to blame. */
  readonly field: string | null;
  /** Where several things are wrong. */
  readonly errors: readonly FieldError[];
}

/** A server. Every method rejects with a `VisavisError`. */
export declare class Client {
  constructor(baseUrl: string | URL, settings?: Settings);
  /** Find the faces of an image, largest first. */
  detect(image: ImageSource, options?: DescribeOptions): Promise<Found<Face, Detected>>;
  /** The same of many images, in order; an image that cannot be used has its error in the place of faces. */
  detectMany(images: Iterable<ImageSource>, options?: DescribeOptions):
    Promise<Array<Found<Face, Detected> | VisavisError>>;
  /** Find faces, with embeddings to compare or keep. */
  embed(image: ImageSource, options?: DescribeOptions): Promise<Found<EmbeddedFace, Embedded>>;
  embedMany(images: Iterable<ImageSource>, options?: DescribeOptions):
    Promise<Array<Found<EmbeddedFace, Embedded> | VisavisError>>;
  /** Tell whether two images show the same person; `no_face` where one shows none. */
  verify(a: ImageSource, b: ImageSource, options?: VerifyOptions): Promise<VerifyResponse>;
  /** Tell whether two embeddings are of the same person. */
  compare(a: Iterable<number>, b: Iterable<number>, options?: CompareOptions): Promise<Comparison>;
  /** The same of many pairs, in order; a pair that cannot be used has its error in the place of an answer. */
  compareMany(pairs: Iterable<[Iterable<number>, Iterable<number>]>, options?: CompareOptions):
    Promise<Array<Comparison | VisavisError>>;
  /** Return what asks about one gallery; nothing is sent yet. */
  gallery(name: string): Gallery;
  /** List the galleries that the key may see. */
  galleries(call?: Call): Promise<GalleryRecord[]>;
  createGallery(name: string, options?: Omit<NewGallery, "name"> & Call): Promise<Gallery>;
  /** Make a gallery where there is none of that name; one that is there stays as it is. */
  getOrCreateGallery(name: string, options?: Omit<NewGallery, "name"> & Call): Promise<Gallery>;
  /** An image upright and small, as a JPEG: of formats too that browsers do not show. */
  preview(image: ImageSource, options?: Whole<PreviewRequest, "image">): Promise<Preview>;
  /** What the key allows, or the absence of one. */
  access(call?: Call): Promise<Access>;
  /** What the server finds when it checks itself. */
  doctor(call?: Call): Promise<Diagnosis>;
  /** Who did what in all galleries, oldest first; asked for page after page. */
  log(options?: Logged): AsyncGenerator<LogEntry, void, undefined>;
  /** The packs that the server knows, and the one it uses. */
  models(call?: Call): Promise<ModelsResponse>;
  /** In Prometheus's text format. */
  metrics(call?: Call): Promise<string>;
  /** Whether the server runs; asked once. */
  alive(call?: Call): Promise<boolean>;
  /** Whether it takes calls; asked once. */
  ready(call?: Call): Promise<boolean>;
  /** Make any other call, such as `json("GET", "v1/models")`. */
  json(method: string, path: string, request?: Request): Promise<any>;
  call(method: string, path: string, request?: Request): Promise<Response>;
}

/** A gallery of a server. Every method rejects with a `VisavisError`, such as `gallery_not_found`. */
export declare class Gallery {
  private constructor();
  readonly name: string;
  show(call?: Call): Promise<GalleryRecord>;
  /** Change some of the policy; the rest stays. */
  setPolicy(policy: PolicyChange, call?: Call): Promise<GalleryRecord>;
  /** Forget it with everybody in it. */
  forget(call?: Call): Promise<Receipt>;
  audit(call?: Call): Promise<AuditReport>;
  /** The numbers in force: thresholds, their error rates, limits to the quality of faces. */
  rules(call?: Call): Promise<GalleryRules>;
  log(options?: Logged): AsyncGenerator<LogEntry, void, undefined>;
  /** Enrol images of one person. Where all are refused, it rejects with the first one's error. */
  enrol(images: ImageSource | ImageSource[], options?: EnrolOptions): Promise<Enrolment>;
  enrolEmbeddings(embeddings: Iterable<Embedding>, options?: EnrolEmbeddingsOptions): Promise<Enrolment>;
  /** Say who the faces of an image are, largest first. */
  identify(image: ImageSource, options?: IdentifyOptions): Promise<Found<Identification, Identified>>;
  identifyMany(images: Iterable<ImageSource>, options?: IdentifyOptions):
    Promise<Array<Found<Identification, Identified> | VisavisError>>;
  /** Say whose embeddings these are, with a key of scope probe. */
  identifyEmbeddings(embeddings: Iterable<Embedding>, options?: IdentifyOptions):
    Promise<Array<Identification | VisavisError>>;
  /** Tell whether an image shows a subject. */
  verify(image: ImageSource, subject: string, options?: VerifySubjectOptions): Promise<SubjectVerification>;
  verifyEmbedding(embedding: Embedding, subject: string, options?: VerifySubjectOptions): Promise<SubjectVerification>;
  subjects(call?: Call): AsyncGenerator<Subject, void, undefined>;
  /** The samples of all subjects, in the order in which they were enrolled, page after page. */
  allSamples(call?: Call): AsyncGenerator<Sample, void, undefined>;
  /** A sample by its number alone. */
  sample(sample: number, call?: Call): Promise<Sample>;
  /** Those whose ID or name contains a text. */
  searchSubjects(text: string, call?: Call): AsyncGenerator<Subject, void, undefined>;
  /** Who may be the same person, nearest first. */
  similar(subject: string, call?: Call): Promise<Candidate[]>;
  /** A subject with its samples. */
  subject(subject: string, call?: Call): Promise<SubjectDetail>;
  /** Make a subject that has no samples yet. */
  addSubject(subject: string, details?: SubjectChange & Call): Promise<Subject>;
  /** Change what is known of a subject, or its ID; null clears. */
  update(subject: string, changes: SubjectChange, options?: Conditional): Promise<Subject>;
  forgetSubject(subject: string, options?: Conditional): Promise<Receipt>;
  /** Give all samples of a subject to another, forget the first, and return the other. */
  merge(subject: string, into: string, call?: Call): Promise<Subject>;
  /** Give samples of a subject to another, and return that. */
  move(subject: string, samples: number[], into: string, call?: Call): Promise<Subject>;
  /** Give samples to a new subject. */
  split(subject: string, samples: number[], options?: Omit<Split, "samples"> & Call): Promise<Subject>;
  /** All that is stored of a person, for the person. */
  exportSubject(subject: string, call?: Call): Promise<SubjectExport>;
  /** What is stored of a sample's image. */
  picture(subject: string, sample: number, options?: Pictured): Promise<Blob>;
  /** The faces that wait for review, in groups, largest first. */
  review(options?: ReviewOptions): AsyncGenerator<ReviewGroup, void, undefined>;
  /** The aligned face of one of them. */
  reviewPicture(face: number, options?: Pictured): Promise<Blob>;
  /** Enrol some of them as one person's. */
  nameFaces(faces: number[], options?: Omit<FacesNamed, "faces"> & Call): Promise<Enrolment>;
  /** Enrol some of them as those of a new subject that is ignored. */
  ignoreFaces(faces: number[], call?: Call): Promise<Enrolment>;
  discardFaces(faces: number[], call?: Call): Promise<Receipt>;
  /** The sharpest picture that is kept of a subject. */
  bestPicture(subject: string, options?: Pictured): Promise<Blob>;
  /** Forget a sample of a subject; with null, of whoever has it. */
  forgetSample(subject: string | null, sample: number, call?: Call): Promise<Receipt>;
  /** The gallery as lines, read as they come: a header, then one for each sample. */
  export(options?: { pictures?: boolean } & Call): AsyncGenerator<Record<string, unknown>, void, undefined>;
  /** Enrol lines, and tell of each what became of it; sent 500 or 8 MB at a time. */
  import(lines: Iterable<Line> | AsyncIterable<Line>, options?: ImportOptions):
    AsyncGenerator<Imported, void, undefined>;
}

export interface Enrolment {
  /** As it is now. */
  subject: Subject;
  /** For each image or embedding, in order. */
  results: Array<(Enrolled & { error?: undefined }) | { error: VisavisError }>;
}
