// Made of the server's OpenAPI document by tools/typescript.py. Do not edit.

/** What the server says went wrong. */
export type ServerCode = "model_missing" | "model_corrupt" | "runtime_missing" | "runtime_failed" | "keys_unusable" | "licence_not_accepted" | "pull_failed" | "store_unavailable" | "store_damaged" | "store_foreign" | "store_outdated" | "store_read_only" | "store_full" | "gallery_locked" | "driver_missing" | "image_not_found" | "image_unreadable" | "image_too_large" | "too_much_work" | "unsupported_format" | "image_corrupt" | "invalid_image" | "invalid_option" | "no_face" | "multiple_faces" | "fetch_refused" | "fetch_failed" | "not_live" | "too_small" | "blurred" | "low_score" | "extreme_pose" | "invalid_face" | "occluded" | "child" | "consent_missing" | "invalid_embedding" | "gallery_not_found" | "subject_not_found" | "sample_not_found" | "gallery_exists" | "subject_exists" | "space_mismatch" | "conflict" | "idempotency_key_reused" | "version_mismatch" | "server_unreachable" | "overloaded" | "invalid_request" | "unauthorized" | "key_expired" | "forbidden" | "not_found" | "method_not_allowed" | "request_timeout" | "body_too_large" | "unsupported_media_type" | "rate_limited" | "internal" | "unsupported_pack";

/** What the caller may do. */
export type Access = {
  /** The only ones that the key is for; none where it is for all. */
  galleries: Array<string>;
  /** Its ID; null where the server asks for none, and everything is allowed. */
  key: string | null;
  /** read, probe, enrol or admin: each allows what those before it do. */
  scope: "metrics" | "read" | "probe" | "enrol" | "admin";
  /** Of the server. */
  version: string;
};

/** What was asked about a face; what was not asked is None. */
export type Attributes = {
  /** In years; off by about ten on average. */
  age?: number;
  /** What the network takes the face for. */
  gender?: Gender;
  /** 0 to 1, how much the face looks like one before the camera rather than a print or a screen. */
  liveness?: number;
  /** Where the head turns. */
  pose?: Pose;
};

/** What there is to mend in a gallery. */
export type AuditReport = {
  /** Further pairs that the identification threshold does not tell apart. */
  confusable: Array<SubjectPair>;
  /** Pairs of subjects that are likely one person: nearer than the conflict threshold. Each sample is compared with the subject that is nearest to it, so of three alike two pairs may be told. */
  duplicates: Array<SubjectPair>;
  /** IDs that people may take for each other: they differ in case, blanks, or letters that look the same. */
  lookalikes: Array<Array<string>>;
  /** Samples that today's policy would refuse. */
  low_quality: Array<LowQuality>;
  /** Samples that may belong to somebody else, farthest first. */
  outliers: Array<Outlier>;
  /** How many were looked at. */
  samples: number;
  /** How many were looked at. */
  subjects: number;
};

/** A subject that a probe resembles. Its distance has two decimals, rounded down, and all else is told by that. ``identify`` tells the distance of its template, the mean of its samples, or that of the sample where candidates are samples; an enrolment that of its nearest sample. */
export type Candidate = {
  distance: number;
  ignored: boolean;
  /** By how much the next candidate is farther away, rounded down; None where no further one is near enough. */
  margin: number | null;
  name: string | null;
  /** Calibrated chance, 0 to 1, that both are the same person. ``identify`` takes it to be as likely as not beforehand that the person is enrolled, as any of the subjects; an enrolment means this one, as ``Verification`` does. None also where there is a reason to doubt. */
  probability: number | null;
  sample: number;
  subject: string;
  subject_number: number;
};

/** What was looked at, and what was found. */
export type Check = {
  /** Names and values: text, numbers, true and false, or null. */
  facts: Record<string, unknown>;
  /** What was looked at. */
  name: string;
  /** None where all is well. */
  problems: Array<Trouble>;
};

/** Pairs of embeddings to compare; at most one of `threshold` and `fmr`. */
export type CompareRequest = {
  /** False match rate of one comparison, to keep in place of a threshold: a number between 0 and 1, or strict (1e-4), balanced (1e-3) or lenient (1e-2). */
  fmr?: number | "strict" | "balanced" | "lenient" | null;
  pairs: Array<EmbeddingPair>;
  /** ID of the space that the embeddings are of, where it is known: another than the pack's is refused. */
  space?: string | null;
  /** Distance below which two faces are the same person, above 0. Null for that of the pack, or of the gallery. */
  threshold?: number | null;
};

/** A result for each pair, in order. */
export type CompareResponse = {
  /** Its name. */
  pack: string;
  /** In the order of the pairs. */
  results: Array<Comparison | Failed>;
};

/** The answer to "are these two embeddings of the same person?". */
export type Comparison = {
  /** same or different; uncertain where there is a reason to doubt, and where a false match rate was asked for and the distance is within the confidence interval of the threshold that has it. */
  decision: "same" | "different" | "uncertain";
  /** Between the two embeddings, in the metric of their space. */
  distance: number;
  /** The false match rate of the threshold, where one was asked for. */
  fmr: number | null;
  /** The confidence interval of the threshold, where a false match rate was asked for: within it, it is uncertain. */
  interval: Array<number> | null;
  /** Calibrated chance, 0 to 1, that the two are the same person when both answers are equally likely beforehand; see the pack's calibration for where it was measured. None for a pack that nobody has calibrated: see ``visavis calibrate``. None also where there is a reason to doubt. */
  probability: number | null;
  /** Why the distance says nothing, whatever it is: invalid_face, child, occluded; or None. */
  reason: "invalid_face" | "child" | "occluded" | null;
  /** ``distance < threshold``, and no reason to doubt it. */
  same: boolean;
  /** The one that was used. */
  threshold: number;
};

/** A result for each image, in order. */
export type DetectResponse = {
  /** Its name. */
  pack: string;
  /** In the order of the images. */
  results: Array<Detected | Failed>;
};

/** The faces of one image, largest first; none is an empty list. */
export type Detected = {
  /** Without their embeddings. */
  faces: Array<{
    /** What else was asked, or None where nothing was. */
    attributes?: Attributes;
    /** (4,) left, top, right, bottom in pixels; may reach beyond the image when the face does. */
    box_xyxy: Array<number>;
    /** The aligned face that the models saw, as a JPEG in base64, or None where it was not asked for. */
    chip?: string;
    /** (5, 2) points in pixels, in the order of the pack's alignment template: its ``anatomy`` says which is what. */
    landmarks: Array<Array<number>>;
    /** How well the image shows it, or None where it was not asked for. */
    quality?: Quality;
    /** The detector's confidence; its scale belongs to the detector (dlib's: above 0 is a face). */
    score: number;
    /** By how many degrees clockwise the image was turned before the face was found upright: 90, 180 or 270; else None. Box and landmarks are those in the image as it is. */
    turned?: number;
  }>;
  /** The smallest size of a face, in pixels, that was looked for: more than ``min_face`` asks for where the image is too large for that. */
  searched_from_px: number;
};

/** What the server found when it checked itself. */
export type Diagnosis = {
  /** In the order in which it looked. */
  checks: Array<Check>;
};

/** A result for each image, in order. */
export type EmbedResponse = {
  /** Of an embedding. */
  dimension: number;
  /** How embeddings are compared. */
  metric: string;
  /** Its name. */
  pack: string;
  /** In the order of the images. */
  results: Array<Embedded | Failed>;
};

/** The faces of one image, largest first, with embeddings; none is an empty list. */
export type Embedded = {
  /** With their embeddings. */
  faces: Array<EmbeddedFace>;
  /** As in ``Detected``. */
  searched_from_px: number;
};

/** One face found in an image, with its embedding. */
export type EmbeddedFace = {
  attributes?: Attributes;
  box_xyxy: Array<number>;
  chip?: string;
  /** (D,) vector in the pack's embedding space. */
  embedding: Array<number>;
  landmarks: Array<Array<number>>;
  quality?: Quality;
  score: number;
  turned?: number;
};

/** Two embeddings, as many numbers each as the pack's space has dimensions. */
export type EmbeddingPair = {
  a: Array<number>;
  b: Array<number>;
};

/** What makes embeddings comparable: only those of one space have a distance that means something. */
export type EmbeddingSpace = {
  /** Of an embedding. */
  dimension: number;
  /** The same for two spaces exactly where weights, preprocessing, alignment and dimension are. */
  id: string;
  /** How two are compared: "euclidean", or "cosine" for one minus the cosine of their angle. */
  metric: "euclidean" | "cosine";
};

/** Faces of one person: exactly one of `images` and `embeddings`; at most one of `box`, of one image, and `like`. */
export type EnrolRequest = {
  /** Whether to enrol a face although it already is another subject. */
  allow_conflict?: boolean;
  /** Where the face is, if there are several: left, top, right and bottom in pixels of the upright image. The one that overlaps this most is enrolled, whatever faces says. */
  box?: Array<number> | null;
  /** Note on what the person agreed to. */
  consent?: string | null;
  /** Whether the faces are counter-samples: of people who resemble the subject, and are not it. A face nearer to one of these than to the subject is not the subject. */
  counter?: boolean;
  /** Whether to make the gallery where there is none; that takes the scope admin. */
  create?: boolean;
  /** As many numbers each as the gallery's space has dimensions. */
  embeddings?: Array<Array<number>>;
  /** When the subject is to be forgotten. */
  expires_at?: string | null;
  /** Which face of each image to enrol: main, the only one of at least half the largest one's area; only, where there is no other at all; prominent, large and central; or largest. */
  faces?: "prominent" | "largest" | "main" | "only";
  /** Whether a face of the subject is to be told as nobody's. */
  ignored?: boolean | null;
  images?: Array<Image>;
  /** An image of the person: of several faces, the one that is the same person is enrolled. */
  like?: Image;
  /** Whatever else is to be known of the subject, in 10,000 characters of JSON. */
  metadata?: Record<string, unknown> | null;
  /** Smallest face to look for: from 1 on in pixels, at least 10; below 1 as a fraction of the image's shorter side. Half the size takes four times as long. Null for that of the Recognizer or server. */
  min_face?: number | null;
  /** Name of the person. */
  name?: string | null;
  /** One for each embedding, where known. */
  qualities?: Array<MeasuredQuality | null>;
  /** Whatever else is to be known of the faces, in 4,096 bytes of JSON. */
  sample_metadata?: Record<string, unknown> | null;
  /** A label of where the images came from. */
  source?: string | null;
  /** An ID of your own for the person: printable, without a slash. Without it, a random one. */
  subject?: string | null;
};

/** The subject as it is now, and a result for each face, in order. */
export type EnrolResponse = {
  /** In the order of the images or embeddings. */
  results: Array<{
    /** Another subject that this face resembles too much, where that was allowed; or None. Where it is allowed nobody looks for it among more than 16 faces that are stored together, which imports are. */
    conflict: Candidate | null;
    /** That was enrolled, or None where an embedding was given or nothing was looked at. */
    face: {
      /** What else was asked, or None where nothing was. */
      attributes?: Attributes;
      /** (4,) left, top, right, bottom in pixels; may reach beyond the image when the face does. */
      box_xyxy: Array<number>;
      /** The aligned face that the models saw, as a JPEG in base64, or None where it was not asked for. */
      chip?: string;
      /** (5, 2) points in pixels, in the order of the pack's alignment template: its ``anatomy`` says which is what. */
      landmarks: Array<Array<number>>;
      /** How well the image shows it, or None where it was not asked for. */
      quality?: Quality;
      /** The detector's confidence; its scale belongs to the detector (dlib's: above 0 is a face). */
      score: number;
      /** By how many degrees clockwise the image was turned before the face was found upright: 90, 180 or 270; else None. Box and landmarks are those in the image as it is. */
      turned?: number;
    } | null;
    /** Whether its idempotency key was used before, and nothing was stored again. */
    repeated: boolean;
    /** The ID of the sample. */
    sample: number;
  } | {
    /** Why. */
    error: ProblemDetails;
  }>;
  /** As it is now. */
  subject: Subject;
};

/** Faces that wait for review, and whose they are. */
export type FacesNamed = {
  /** Whether to enrol a face although it already is another subject. */
  allow_conflict?: boolean;
  /** Note on what the person agreed to. */
  consent?: string | null;
  /** Whether the faces are counter-samples: of people who resemble the subject, and are not it. A face nearer to one of these than to the subject is not the subject. */
  counter?: boolean;
  /** When the subject is to be forgotten. */
  expires_at?: string | null;
  /** Their numbers. */
  faces: Array<number>;
  /** Whether a face of the subject is to be told as nobody's. */
  ignored?: boolean | null;
  /** Whatever else is to be known of the subject, in 10,000 characters of JSON. */
  metadata?: Record<string, unknown> | null;
  /** Name of the person. */
  name?: string | null;
  /** ID of the subject, made if there is none of it yet. Without it, a random one. */
  subject?: string | null;
};

/** An image, or an embedding, that could not be used; the others are not affected. */
export type Failed = {
  /** Why. */
  error: ProblemDetails;
};

/** One of several things that are wrong. */
export type FieldError = {
  /** As of a problem; not everywhere. */
  code?: string;
  /** Where. */
  field: string;
  /** Why, for people. */
  message: string;
};

/** The galleries that the key may see, by name. */
export type GalleriesResponse = {
  /** By name. */
  galleries: Array<Gallery>;
};

/** A set of subjects whose embeddings are of one space. */
export type Gallery = {
  /** In UTC. */
  created_at: string;
  /** Whether embeddings and pictures are encrypted where they are stored. */
  encrypted: boolean;
  /** Unique in its store. */
  name: string;
  /** Never given twice, so that a gallery made anew under an old name is another one. */
  number: number;
  /** How it enrols, decides and forgets. */
  policy: Policy;
  /** How many it holds. */
  samples: number;
  /** Of its embeddings. */
  space: EmbeddingSpace;
  /** How many it holds. */
  subjects: number;
};

/** What to change of a gallery. */
export type GalleryChange = {
  policy: PolicyChange;
};

/** The numbers in force in a gallery: they follow from its policy, its pack, and how many it holds. */
export type GalleryRules = {
  /** Distance beyond which no candidate is told of. */
  candidate_threshold: number;
  /** Distance to another subject below which a face is not enrolled. */
  conflict_threshold: number;
  /** The false match rate of the threshold, in one comparison, as far as that was measured. */
  fmr: number | null;
  /** The false positive identification rate that the threshold keeps, in the whole search; None for a fixed one. */
  fpir: number | null;
  /** Its 95 % confidence interval, where a rate is kept. */
  interval: Array<number> | null;
  /** Limits to the quality of faces, by their names in the policy. */
  limits: Record<string, number>;
  /** By how much the next subject must be farther away. */
  margin: number;
  /** Whose numbers count where the policy has none. */
  pack: string;
  /** How many a face is compared with. */
  subjects: number;
  /** Distance below which a face is identified. */
  threshold: number;
  /** The false match rate of that threshold, as far as it was measured. */
  verify_fmr: number | null;
  /** Distance below which a face is verified to be a subject. */
  verify_threshold: number;
};

/** What a network takes a face for: neither identity nor legal sex. */
export type Gender = {
  /** female or male. */
  label: "female" | "male";
  /** Of the label, 0.5 to 1, as the network says it. */
  probability: number;
};

/** The answer to "who is this?" for one face. Its truth is whether there is a match. */
export type Identification = {
  /** The subjects near enough to matter, nearest first: nearer than the policy's ``candidate_threshold``, and at most ``most_candidates``; and the match. Or their samples, where these were asked for. */
  candidates: Array<Candidate>;
  /** How many subjects the face was compared with. */
  compared: number | null;
  /** That was found, with its quality, or None where an embedding was given. */
  face: {
    /** What else was asked, or None where nothing was. */
    attributes?: Attributes;
    /** (4,) left, top, right, bottom in pixels; may reach beyond the image when the face does. */
    box_xyxy: Array<number>;
    /** The aligned face that the models saw, as a JPEG in base64, or None where it was not asked for. */
    chip?: string;
    /** (5, 2) points in pixels, in the order of the pack's alignment template: its ``anatomy`` says which is what. */
    landmarks: Array<Array<number>>;
    /** How well the image shows it, or None where it was not asked for. */
    quality?: Quality;
    /** The detector's confidence; its scale belongs to the detector (dlib's: above 0 is a face). */
    score: number;
    /** By how many degrees clockwise the image was turned before the face was found upright: 90, 180 or 270; else None. Box and landmarks are those in the image as it is. */
    turned?: number;
  } | null;
  /** The false match rate of the threshold, in one comparison, where one was asked for. */
  fmr: number | null;
  /** The false positive identification rate of the threshold, in the whole search, where one is kept. */
  fpir: number | null;
  /** The 95 % confidence interval of the threshold, where a rate is kept; wider where the rate is extrapolated. */
  interval: Array<number> | null;
  /** The subject that it is, or None. */
  match: Candidate | null;
  /** The one that was used. */
  threshold: number;
  /** Whether the nearest subject's distance lies within the interval: on other people's faces the threshold that keeps the rate might decide otherwise. ``match`` and ``unknown`` are by the threshold all the same. */
  uncertain: boolean;
  /** Why it is nobody, or None where there is a match. */
  unknown: "no_match" | "low_margin" | "low_quality" | "not_live" | "empty_gallery" | "rejected" | "ignored" | "invalid_face" | "child" | "occluded" | null;
};

/** The faces of one image, largest first; none is an empty list. */
export type Identified = {
  /** Who each is; of an embedding there is one. */
  faces: Array<Identification>;
  /** As in ``Detected``; null where an embedding was given. */
  searched_from_px: number | null;
};

/** Whom to look for: exactly one of `images` and `embeddings`; at most one of `threshold` and `fmr`. */
export type IdentifyRequest = {
  /** Whether to return the aligned face that the models saw, as a JPEG in base64. */
  chips?: boolean;
  /** As many numbers each as the gallery's space has dimensions. */
  embeddings?: Array<Array<number>>;
  /** Which faces count: all; at most one, found faster: prominent, large and central, or largest; or exactly one, none or several being an error: main, which passes over those of less than half its area, or only. */
  faces?: "all" | "prominent" | "largest" | "main" | "only";
  /** False match rate of one comparison, to keep in place of a threshold: a number between 0 and 1, or strict (1e-4), balanced (1e-3) or lenient (1e-2). */
  fmr?: number | "strict" | "balanced" | "lenient" | null;
  /** False positive identification rate: the part of strangers who may be taken for one of the subjects, however many these are. The threshold follows from it, from their number and from the pack's rates. Null for that of the gallery. */
  fpir?: number | null;
  /** What candidates are: subjects, each as far as its template; or sample, single samples of them, so that a subject may come several times. The match is a subject either way. */
  group_by?: "subject" | "sample";
  images?: Array<Image>;
  /** How many candidates to tell of. */
  limit?: number;
  /** Smallest face to look for: from 1 on in pixels, at least 10; below 1 as a fraction of the image's shorter side. Half the size takes four times as long. Null for that of the Recognizer or server. */
  min_face?: number | null;
  /** Whether to refuse faces that look like a print or a screen; needs a pack that can tell, such as open. */
  require_live?: boolean;
  /** Distance below which two faces are the same person, above 0. Null for that of the pack, or of the gallery. */
  threshold?: number | null;
};

/** A result for each image or embedding, in order. */
export type IdentifyResponse = {
  /** Its name. */
  gallery: string;
  /** Its name. */
  pack: string;
  /** In the order of the images or embeddings. */
  results: Array<Identified | Failed>;
};

/** An image, in exactly one of three forms. */
export type Image = {
  /** An encoded image in base64, or a data URI. */
  base64: string;
} | {
  /** Where to fetch an encoded image, by http or https. */
  url: string;
} | {
  /** Rows of pixels, each a number or 1, 3 (RGB) or 4 (RGBA) numbers from 0 to 255. */
  array: Array<Array<number | Array<number>>>;
};

/** Images in which to find faces. */
export type ImagesRequest = {
  /** What else to tell of each face, where the pack can: liveness, pose, age, gender. Each is a network more. */
  attributes?: Array<"liveness" | "pose" | "age" | "gender">;
  /** Whether to return the aligned face that the models saw, as a JPEG in base64. */
  chips?: boolean;
  /** Which faces count: all; at most one, found faster: prominent, large and central, or largest; or exactly one, none or several being an error: main, which passes over those of less than half its area, or only. */
  faces?: "all" | "prominent" | "largest" | "main" | "only";
  images: Array<Image>;
  /** Smallest face to look for: from 1 on in pixels, at least 10; below 1 as a fraction of the image's shorter side. Half the size takes four times as long. Null for that of the Recognizer or server. */
  min_face?: number | null;
  /** Whether to tell how well the image shows each face: size, sharpness, score, angles. */
  quality?: boolean;
};

/** One line of the log, which only ever grows. It holds neither faces nor names. */
export type LogEntry = {
  /** create, enrol, update, move, identify, verify, export, picture, audit, forget, expire, policy, backup, rekey. */
  action: string;
  /** Who did it. */
  actor: string;
  /** In UTC. */
  at: string;
  /** How many samples or faces it was about. */
  count: number;
  /** The gallery's name. */
  gallery: string;
  /** One more than the entry before, or some more. */
  number: number;
  /** The numbers of the subjects concerned, as far as they were known. */
  subjects: Array<number>;
};

/** A page of the log. */
export type LogResponse = {
  /** As many as were asked for, or all that there are. */
  entries: Array<LogEntry>;
  /** Where the next page begins; null where this is the last one. */
  next_cursor: string | null;
};

/** A sample that today's policy would refuse. */
export type LowQuality = {
  /** too_small, blurred, low_score, extreme_pose, invalid_face, occluded, child. */
  reasons: Array<string>;
  /** Its ID. */
  sample: number;
  /** Its subject's ID. */
  subject: string;
};

/** How well the image of an embedding showed the face; the rest where it is known. */
export type MeasuredQuality = {
  face_px: number;
  occluded?: number | null;
  pitch?: number | null;
  score: number;
  sharpness: number;
  validity?: number | null;
  yaw?: number | null;
};

/** Where the samples of a subject are to go. */
export type Merge = {
  /** ID of the subject that stays. */
  into: string;
};

/** The packs there are, and the one in use. */
export type ModelsResponse = {
  /** The pack that this server uses. */
  default: string;
  /** All that it knows. */
  packs: Array<ServedPack>;
};

/** Where some of a subject's samples are to go. */
export type Move = {
  /** ID of the subject that stays. */
  into: string;
  /** Their IDs. */
  samples: Array<number>;
};

/** A gallery to be made; it is bound to the models that the server uses. */
export type NewGallery = {
  /** Without it, encrypted where the server has a key for that. */
  encrypted?: boolean | null;
  name: string;
  policy?: PolicyChange;
};

/** A subject that has no samples yet. */
export type NewSubject = {
  /** Note on what the person agreed to. */
  consent?: string | null;
  /** When the subject is to be forgotten. */
  expires_at?: string | null;
  /** As in `enrol`. */
  id: string;
  /** Whether a face of the subject is to be told as nobody's. */
  ignored?: boolean | null;
  /** Whatever else is to be known of the subject, in 10,000 characters of JSON. */
  metadata?: Record<string, unknown> | null;
  /** Name of the person. */
  name?: string | null;
};

/** A sample that looks unlike the others of its subject. */
export type Outlier = {
  /** To the nearest other sample of the subject. */
  distance: number;
  /** The ID of another subject that it is nearer to than the threshold, or None. */
  nearest: string | null;
  /** Its ID. */
  sample: number;
  /** Its subject's ID. */
  subject: string;
};

/** How a gallery enrols, decides and forgets. Where a limit is None, the pack's own counts. */
export type Policy = {
  /** Whether faces that look like children's, below about 12 years, are enrolled, identified and verified. */
  allow_children: boolean;
  /** Distance beyond which no candidate is told of, and no call may set its threshold. Null for the threshold, and the lenient operating point for calls. */
  candidate_threshold: number | null;
  /** Distance to another subject below which a face is not enrolled; 0 to enrol it all the same. Null for the pack's own. */
  conflict_threshold: number | null;
  /** Whether to enrol nobody without a note of consent. */
  consent_required: boolean;
  /** False positive identification rate: the part of strangers who may be taken for one of the subjects, however many these are. The threshold follows from it, from their number and from the pack's rates. Null for 0.01, or a threshold: the policy's, or the pack's where it has no rates. */
  fpir: number | null;
  /** What is kept of enrolled images: nothing, aligned faces, or whole images. */
  keep: "nothing" | "chips" | "images";
  /** Whether the log tells of every identification and verification. */
  log_searches: boolean;
  /** By how much the next subject must be farther away than the nearest, or the face is unknown. Null for the pack's own. */
  margin: number | null;
  /** Most occlusion, as by a mask, of a face that is enrolled, identified or verified; 1 for any. Null for the pack's own. */
  max_occluded: number | null;
  /** Most degrees by which a head that is enrolled looks up or down; 90 for any. Null for the pack's own. */
  max_pitch: number | null;
  /** Most degrees by which a head that is enrolled is turned sideways; 90 for any. Null for the pack's own. */
  max_yaw: number | null;
  /** Fewest pixels of a face that is enrolled. Null for the pack's own. */
  min_face_px: number | null;
  /** Least detector score of a face that is enrolled. Null for the pack's own. */
  min_score: number | null;
  /** Least sharpness of a face that is enrolled. Null for the pack's own. */
  min_sharpness: number | null;
  /** Least validity of a face that is enrolled, identified or verified; 0 for any. Null for the pack's own. */
  min_validity: number | null;
  /** Most candidates of a face, whatever a call's limit. */
  most_candidates: number;
  /** Fewest pixels of a face that is identified; else it is unknown. Null for the pack's own. */
  probe_min_face_px: number | null;
  /** Least detector score of a face that is identified; else it is unknown. Null for the pack's own. */
  probe_min_score: number | null;
  /** Least sharpness of a face that is identified; else it is unknown. Null for the pack's own. */
  probe_min_sharpness: number | null;
  /** Whether images must show faces that look live to be enrolled, identified or verified; needs a pack that can tell, such as open. */
  require_live: boolean;
  /** Days after its last enrolment after which a subject is forgotten. Null for never. */
  retention_days: number | null;
  /** Days for which the aligned faces of identified images are kept for review that are nobody's for certain; not together with consent_required. Null for never. */
  review_days: number | null;
  /** Whether searches are answered also where the log cannot be written, as on a full disk; else they fail. */
  search_unlogged: boolean;
  /** Distance below which a subject is identified, in place of fpir. Null for by fpir. */
  threshold: number | null;
};

/** How a gallery enrols, decides and forgets; what is not given stays, or is as in new galleries. Where a limit is null, the pack's own counts. */
export type PolicyChange = {
  /** Whether faces that look like children's, below about 12 years, are enrolled, identified and verified. */
  allow_children?: boolean;
  /** Distance beyond which no candidate is told of, and no call may set its threshold. Null for the threshold, and the lenient operating point for calls. */
  candidate_threshold?: number | null;
  /** Distance to another subject below which a face is not enrolled; 0 to enrol it all the same. Null for the pack's own. */
  conflict_threshold?: number | null;
  /** Whether to enrol nobody without a note of consent. */
  consent_required?: boolean;
  /** False positive identification rate: the part of strangers who may be taken for one of the subjects, however many these are. The threshold follows from it, from their number and from the pack's rates. Null for 0.01, or a threshold: the policy's, or the pack's where it has no rates. */
  fpir?: number | null;
  /** What is kept of enrolled images: nothing, aligned faces, or whole images. */
  keep?: "nothing" | "chips" | "images";
  /** Whether the log tells of every identification and verification. */
  log_searches?: boolean;
  /** By how much the next subject must be farther away than the nearest, or the face is unknown. Null for the pack's own. */
  margin?: number | null;
  /** Most occlusion, as by a mask, of a face that is enrolled, identified or verified; 1 for any. Null for the pack's own. */
  max_occluded?: number | null;
  /** Most degrees by which a head that is enrolled looks up or down; 90 for any. Null for the pack's own. */
  max_pitch?: number | null;
  /** Most degrees by which a head that is enrolled is turned sideways; 90 for any. Null for the pack's own. */
  max_yaw?: number | null;
  /** Fewest pixels of a face that is enrolled. Null for the pack's own. */
  min_face_px?: number | null;
  /** Least detector score of a face that is enrolled. Null for the pack's own. */
  min_score?: number | null;
  /** Least sharpness of a face that is enrolled. Null for the pack's own. */
  min_sharpness?: number | null;
  /** Least validity of a face that is enrolled, identified or verified; 0 for any. Null for the pack's own. */
  min_validity?: number | null;
  /** Most candidates of a face, whatever a call's limit. */
  most_candidates?: number;
  /** Fewest pixels of a face that is identified; else it is unknown. Null for the pack's own. */
  probe_min_face_px?: number | null;
  /** Least detector score of a face that is identified; else it is unknown. Null for the pack's own. */
  probe_min_score?: number | null;
  /** Least sharpness of a face that is identified; else it is unknown. Null for the pack's own. */
  probe_min_sharpness?: number | null;
  /** Whether images must show faces that look live to be enrolled, identified or verified; needs a pack that can tell, such as open. */
  require_live?: boolean;
  /** Days after its last enrolment after which a subject is forgotten. Null for never. */
  retention_days?: number | null;
  /** Days for which the aligned faces of identified images are kept for review that are nobody's for certain; not together with consent_required. Null for never. */
  review_days?: number | null;
  /** Whether searches are answered also where the log cannot be written, as on a full disk; else they fail. */
  search_unlogged?: boolean;
  /** Distance below which a subject is identified, in place of fpir. Null for by fpir. */
  threshold?: number | null;
};

/** Where a head turns, in degrees; all are 0 for one that looks straight into the camera. */
export type Pose = {
  /** Positive where it looks down. */
  pitch: number;
  /** Positive where it leans clockwise in the image. */
  roll: number;
  /** Positive where the head is turned to the right of the image. */
  yaw: number;
};

/** An image as browsers show it. */
export type Preview = {
  /** Upright, made smaller, as a JPEG in base64. */
  jpeg: string;
  /** Width and height of the upright original, in pixels, in which boxes and landmarks are. */
  size_wh: Array<number>;
};

/** An image to be looked at. */
export type PreviewRequest = {
  image: Image;
  /** Most pixels a side. */
  side?: number;
};

/** What went wrong, as RFC 9457 says it; programs may rely on `code`. */
export type ProblemDetails = {
  /** Stable, for programs. */
  code: string;
  /** What to mend, for people. */
  detail: string;
  /** Where several things are wrong. */
  errors?: Array<FieldError>;
  /** The offending part of the request. */
  field?: string;
  /** By which the server's log knows the request. */
  request_id: string;
  /** Of HTTP. */
  status: number;
  /** The same for all problems of the code. */
  title: string;
  /** A URN of the code. */
  type: string;
};

/** How well an image shows a face. */
export type Quality = {
  /** The shorter side of the face's box, in pixels of the original. */
  face_px: number;
  /** 0 to 1, how much eyes or mouth look covered: eyes by the darkness of sunglasses, the mouth by the smoothness of a mask. None where nobody looked. */
  occluded?: number;
  /** Where the head turns, in degrees as in ``Pose``, estimated from the landmarks; None where a face was enrolled before these were told. */
  pitch?: number;
  /** The detector's confidence, as in ``Face``. */
  score: number;
  /** Of the aligned chip; see ``visavis.core.quality``. 0 is a single colour. */
  sharpness: number;
  /** 0 to 1, how much the embedding looks like one of an upright, legible face: those of turned, half-toned or noisy ones are all alike. None where nobody looked, or the pack cannot tell. */
  validity?: number;
  /** Where the head turns, in degrees as in ``Pose``, estimated from the landmarks; None where a face was enrolled before these were told. */
  yaw?: number;
};

/** What was forgotten, when, and by whom: for those who must show it. It holds nothing of the face itself. */
export type Receipt = {
  /** Who asked for it. */
  actor: string;
  /** In UTC. */
  forgotten_at: string;
  /** Its name. */
  gallery: string;
  /** Its number in the store. */
  gallery_number: number;
  overwritten: boolean;
  samples: number;
  /** The ID that was asked for; None where it was a gallery, a sample by its ID alone, or faces of a review queue. */
  subject: string | null;
  subjects: Array<number>;
};

/** A face that waits for somebody to say whose it is. */
export type ReviewFace = {
  /** The subject that it resembled most, if any was near enough to be told of and is still there. */
  candidate: Candidate | null;
  /** When it is forgotten, in UTC. */
  expires_at: string | null;
  /** Its own, never given twice. */
  number: number;
  /** Of the image that it was found in. */
  quality: Quality | null;
  /** In UTC. */
  seen_at: string;
  /** Why it was nobody's, as ``identify`` told; None where it was somebody's, and that is uncertain. */
  unknown: "no_match" | "low_margin" | "low_quality" | "not_live" | "empty_gallery" | "rejected" | "ignored" | "invalid_face" | "child" | "occluded" | null;
};

/** Faces that wait for review. */
export type ReviewFaces = {
  /** Their numbers. */
  faces: Array<number>;
};

/** Faces that are likely one person's. */
export type ReviewGroup = {
  /** The sharpest first. */
  faces: Array<ReviewFace>;
};

/** A page of groups, those of most faces first. */
export type ReviewResponse = {
  /** As many as were asked for, or all that there are. */
  groups: Array<ReviewGroup>;
  /** Where the next page begins; null where this is the last one. */
  next_cursor: string | null;
};

/** One enrolled face. */
export type Sample = {
  /** Whether it is a counter-sample: somebody who resembles the subject, and is not it. */
  counter: boolean;
  /** In UTC. */
  created_at: string;
  /** A number that its store never gives twice. */
  id: number;
  /** Whatever else is to be known of the face, as JSON holds it. */
  metadata: Record<string, unknown>;
  /** What is stored of the image: "chips", "images" or "nothing". */
  picture: "nothing" | "chips" | "images";
  /** Of the image it was enrolled from, or None where an embedding was enrolled. */
  quality: Quality | null;
  /** A label of where it came from, or None. */
  source: string | null;
  /** Whose face it is: the subject's ID. */
  subject: string;
};

/** One enrolled face, with what is stored of it. */
export type SampleExport = {
  counter: boolean;
  created_at: string;
  /** (D,). */
  embedding: Array<number>;
  id: number;
  metadata: Record<string, unknown>;
  picture: "nothing" | "chips" | "images";
  /** The chip or the image, in base64. */
  picture_data: string | null;
  quality: Quality | null;
  source: string | null;
  subject: string;
};

/** A page of samples, in the order in which they were enrolled. */
export type SamplesResponse = {
  /** Where the next page begins; null where this is the last one. */
  next_cursor: string | null;
  /** As many as were asked for, or all that there are. */
  samples: Array<Sample>;
};

/** A file of learned numbers. */
export type ServedFile = {
  /** In a word. */
  licence: string;
  /** Of the file. */
  name: string;
  /** Where it comes from. */
  origin: string;
  /** Of the part that it belongs to. */
  role: string;
  /** Where it is known. */
  sha256: string | null;
  /** In bytes, where it is known. */
  size: number | null;
};

/** A detector, landmarks and an embedder that belong together. */
export type ServedPack = {
  /** What it tells of faces besides, by the parts that are on the server. */
  attributes: Array<string>;
  /** Whether the licences of all needed parts allow it. */
  commercial_use: boolean;
  /** Of an embedding. */
  dimension: number;
  /** Its weights. */
  files: Array<ServedFile>;
  /** Whether the files of all needed parts are on the server. */
  installed: boolean;
  /** How embeddings are compared. */
  metric: string;
  /** By which it is called. */
  name: string;
  /** Thresholds: the default one; and strict, balanced and lenient, which keep false match rates of 1e-4, 1e-3 and 1e-2, as far as those are measured. */
  operating_points: Record<string, number>;
  /** What it needs, and what it offers besides. */
  parts: Array<ServedPart>;
  /** The embedding space; null before the first installation of some. */
  space: string | null;
  /** One line about it. */
  summary: string;
  /** Faces at a smaller distance are the same person. */
  threshold: number;
  /** Where the threshold comes from. */
  threshold_provenance: string;
};

/** What does one thing in a pack. */
export type ServedPart = {
  /** Whether the licence of its weights allows it. */
  commercial_use: boolean;
  /** Their names. */
  files: Array<string>;
  /** Whether its files are on the server; they are not read for that. */
  installed: boolean;
  /** Else it is for attributes of faces, and the pack works without it. */
  needed: boolean;
  /** What it does. */
  role: string;
  /** What is known of the data that it was trained on. */
  training_data: string;
};

/** Subjects that may be the same person as another. */
export type SimilarResponse = {
  /** Nearest first, each with the distance of the nearest two samples. */
  candidates: Array<Candidate>;
};

/** Which of a subject's samples are to be a new one's, and what is known of that. */
export type Split = {
  /** Note on what the person agreed to. */
  consent?: string | null;
  /** When the subject is to be forgotten. */
  expires_at?: string | null;
  /** Whether a face of the subject is to be told as nobody's. */
  ignored?: boolean | null;
  /** An ID of your own for the new subject. Without it, a random one. */
  into?: string | null;
  /** Whatever else is to be known of the subject, in 10,000 characters of JSON. */
  metadata?: Record<string, unknown> | null;
  /** Name of the person. */
  name?: string | null;
  /** Their IDs. */
  samples: Array<number>;
};

/** How the server is. */
export type Status = {
  /** Why it is not ready, for those who may do everything here. */
  reason?: string;
  /** ok; ready or not ready. */
  status: string;
};

/** One person. */
export type Subject = {
  /** A note on what the person agreed to, or None. */
  consent: string | null;
  /** In UTC. */
  created_at: string;
  /** When it is forgotten, in UTC, or None. */
  expires_at: string | null;
  /** Unique in its gallery, chosen by those who enrol. */
  id: string;
  /** Whether nobody is told when a face is this one: ``identify`` says ``unknown``, for the reason ``ignored``. */
  ignored: boolean;
  /** Whatever else is to be known, as JSON holds it. */
  metadata: Record<string, unknown>;
  /** For people, or None. */
  name: string | null;
  /** Of the store; never given twice. It is how logs and receipts call a subject. */
  number: number;
  /** How many it has, counter-samples among them. */
  samples: number;
  /** In UTC. */
  updated_at: string;
  /** One more with every change of the subject or its samples. */
  version: number;
};

/** What to change of a subject; null clears, and what is not given stays. */
export type SubjectChange = {
  /** Note on what the person agreed to. */
  consent?: string | null;
  /** When the subject is to be forgotten. */
  expires_at?: string | null;
  /** Another ID, by which the subject is called from then on. */
  id?: string;
  /** Whether a face of the subject is to be told as nobody's. */
  ignored?: boolean | null;
  /** Whatever else is to be known of the subject, in 10,000 characters of JSON. */
  metadata?: Record<string, unknown> | null;
  /** Name of the person. */
  name?: string | null;
};

/** A person with all samples. */
export type SubjectDetail = {
  consent: string | null;
  created_at: string;
  expires_at: string | null;
  id: string;
  ignored: boolean;
  metadata: Record<string, unknown>;
  name: string | null;
  number: number;
  /** Oldest first. */
  sample_list: Array<Sample>;
  samples: number;
  updated_at: string;
  version: number;
};

/** All that is stored of a person. */
export type SubjectExport = {
  consent: string | null;
  created_at: string;
  expires_at: string | null;
  /** Its name. */
  gallery: string;
  id: string;
  ignored: boolean;
  /** What is told of the subject. */
  log: Array<LogEntry>;
  metadata: Record<string, unknown>;
  name: string | null;
  number: number;
  /** Oldest first. */
  sample_list: Array<SampleExport>;
  samples: number;
  updated_at: string;
  version: number;
};

/** Two subjects whose faces are near each other. */
export type SubjectPair = {
  /** Their IDs. */
  a: string;
  /** Their IDs. */
  b: string;
  /** Between the two samples. */
  distance: number;
  /** Calibrated chance that both are the same person. */
  probability: number | null;
  /** The IDs of their nearest samples. */
  samples: Array<number>;
};

/** Whom to look for by name. */
export type SubjectSearch = {
  /** The `next_cursor` of the page before. */
  cursor?: string;
  /** How many at most. */
  limit?: number;
  /** A part of an ID or of a name, in whatever case. */
  text: string;
};

/** The answer to "is this the subject?". Its truth is ``same``. */
export type SubjectVerification = {
  /** As in ``Verification``. */
  decision: "same" | "different" | "uncertain";
  /** To the nearest sample of the subject, with two decimals, rounded down; None where it is neither below the threshold nor below the policy's ``candidate_threshold``. */
  distance: number | null;
  /** That was found, or None where an embedding was given. */
  face: {
    /** What else was asked, or None where nothing was. */
    attributes?: Attributes;
    /** (4,) left, top, right, bottom in pixels; may reach beyond the image when the face does. */
    box_xyxy: Array<number>;
    /** The aligned face that the models saw, as a JPEG in base64, or None where it was not asked for. */
    chip?: string;
    /** (5, 2) points in pixels, in the order of the pack's alignment template: its ``anatomy`` says which is what. */
    landmarks: Array<Array<number>>;
    /** How well the image shows it, or None where it was not asked for. */
    quality?: Quality;
    /** The detector's confidence; its scale belongs to the detector (dlib's: above 0 is a face). */
    score: number;
    /** By how many degrees clockwise the image was turned before the face was found upright: 90, 180 or 270; else None. Box and landmarks are those in the image as it is. */
    turned?: number;
  } | null;
  /** As in ``Verification``. */
  fmr: number | null;
  /** As in ``Verification``; None also where no distance is told. */
  probability: number | null;
  /** As in ``Verification``: of the face, or of the nearest sample; rejected where a counter-sample is nearer. */
  reason: "invalid_face" | "child" | "occluded" | string | null;
  /** Whether the distance is below the threshold, and there is no reason to doubt it. */
  same: boolean;
  /** The ID of the nearest sample; None where no distance is told. */
  sample: number | null;
  /** Its ID. */
  subject: string;
  /** The one that was used. */
  threshold: number;
};

/** A page of subjects, in the order in which they were enrolled. */
export type SubjectsResponse = {
  /** Where the next page begins; null where this is the last one. */
  next_cursor: string | null;
  /** As many as were asked for, or all that there are. */
  subjects: Array<Subject>;
};

/** What is wrong, and what to do about it. */
export type Trouble = {
  /** What is wrong. */
  problem: string;
  /** What to do. */
  remedy: string;
};

/** Two images to compare; at most one of `threshold`, `fmr` and `operating_point`. */
export type VerifyRequest = {
  a: Image;
  b: Image;
  /** Whether to return the aligned face that the models saw, as a JPEG in base64. */
  chips?: boolean;
  /** Which face of each image to compare: prominent, large and central; largest; or exactly one: main, which passes over those of less than half its area, or only. */
  faces?: "prominent" | "largest" | "main" | "only";
  /** False match rate of one comparison, to keep in place of a threshold: a number between 0 and 1, or strict (1e-4), balanced (1e-3) or lenient (1e-2). */
  fmr?: number | "strict" | "balanced" | "lenient" | null;
  /** Smallest face to look for: from 1 on in pixels, at least 10; below 1 as a fraction of the image's shorter side. Half the size takes four times as long. Null for that of the Recognizer or server. */
  min_face?: number | null;
  /** A threshold by name, of those that /v1/models lists. */
  operating_point?: "default" | "strict" | "balanced" | "lenient";
  /** Whether to refuse faces that look like a print or a screen; needs a pack that can tell, such as open. */
  require_live?: boolean;
  /** Faces at a smaller distance are the same person. Without it, the server's own threshold. */
  threshold?: number;
};

/** Whether two images show the same person. */
export type VerifyResponse = {
  decision: "same" | "different" | "uncertain";
  distance: number;
  faces: Array<{
    /** What else was asked, or None where nothing was. */
    attributes?: Attributes;
    /** (4,) left, top, right, bottom in pixels; may reach beyond the image when the face does. */
    box_xyxy: Array<number>;
    /** The aligned face that the models saw, as a JPEG in base64, or None where it was not asked for. */
    chip?: string;
    /** (5, 2) points in pixels, in the order of the pack's alignment template: its ``anatomy`` says which is what. */
    landmarks: Array<Array<number>>;
    /** How well the image shows it, or None where it was not asked for. */
    quality?: Quality;
    /** The detector's confidence; its scale belongs to the detector (dlib's: above 0 is a face). */
    score: number;
    /** By how many degrees clockwise the image was turned before the face was found upright: 90, 180 or 270; else None. Box and landmarks are those in the image as it is. */
    turned?: number;
  }>;
  fmr: number | null;
  interval: Array<number> | null;
  /** Its name. */
  pack: string;
  probability: number | null;
  reason: "invalid_face" | "child" | "occluded" | null;
  same: boolean;
  threshold: number;
};

/** A face for a subject: exactly one of `image` and `embedding`; at most one of `threshold` and `fmr`. */
export type VerifySubjectRequest = {
  /** Whether to return the aligned face that the models saw, as a JPEG in base64. */
  chips?: boolean;
  embedding?: Array<number>;
  /** Which face of each image to compare: prominent, large and central; largest; or exactly one: main, which passes over those of less than half its area, or only. */
  faces?: "prominent" | "largest" | "main" | "only";
  /** False match rate of one comparison, to keep in place of a threshold: a number between 0 and 1, or strict (1e-4), balanced (1e-3) or lenient (1e-2). */
  fmr?: number | "strict" | "balanced" | "lenient" | null;
  image?: Image;
  /** Smallest face to look for: from 1 on in pixels, at least 10; below 1 as a fraction of the image's shorter side. Half the size takes four times as long. Null for that of the Recognizer or server. */
  min_face?: number | null;
  /** Whether to refuse faces that look like a print or a screen; needs a pack that can tell, such as open. */
  require_live?: boolean;
  /** A sample of the subject, to be compared with in place of all. */
  sample?: number | null;
  /** Distance below which two faces are the same person, above 0. Null for that of the pack, or of the gallery. */
  threshold?: number | null;
};

/** What a gallery is to be where there is none; it is bound to the models that the server uses. */
export type WantedGallery = {
  /** Without it, encrypted where the server has a key for that. */
  encrypted?: boolean | null;
  policy?: PolicyChange;
};
