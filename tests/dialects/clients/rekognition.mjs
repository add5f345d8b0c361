// Calls by @aws-sdk/client-rekognition, as its users do. Usage: PORTRAIT SAME_PERSON
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import * as aws from "@aws-sdk/client-rekognition";

const client = new aws.RekognitionClient({ maxAttempts: 1 });
const [portrait, same] = process.argv.slice(2).map((path) => ({ Bytes: readFileSync(path) }));
const called = new Set();

async function ask(name, wanted) {
  const { $metadata, ...found } = await client.send(new aws[`${name}Command`](wanted));
  assert.equal($metadata.httpStatusCode, 200);
  assert.ok($metadata.requestId);
  called.add(name);
  return found;
}

async function refused(kind, name, wanted) {
  await assert.rejects(client.send(new aws[`${name}Command`](wanted)), (error) => {
    assert.equal(error.name, kind);
    assert.ok(error.message || error.Message);
    return true;
  });
}

const at = { CollectionId: "From_JavaScript" };
await ask("CreateCollection", at);
await refused("ResourceAlreadyExistsException", "CreateCollection", at);
assert.ok((await ask("ListCollections", {})).CollectionIds.includes(at.CollectionId));
const found = await ask("DetectFaces", { Image: portrait, Attributes: ["DEFAULT"] });
assert.equal(found.FaceDetails.length, 1);
const compared = await ask("CompareFaces", { SourceImage: portrait, TargetImage: same, SimilarityThreshold: 80 });
assert.equal(compared.FaceMatches.length, 1);
const indexed = await ask("IndexFaces", { ...at, Image: portrait, ExternalImageId: "eileen" });
const { FaceId } = indexed.FaceRecords[0].Face;
assert.equal((await ask("ListFaces", at)).Faces[0].FaceId, FaceId);
const searched = await ask("SearchFacesByImage", { ...at, Image: same });
assert.equal(searched.FaceMatches[0].Face.ExternalImageId, "eileen");
assert.deepEqual((await ask("SearchFaces", { ...at, FaceId })).FaceMatches, []);
await ask("CreateUser", { ...at, UserId: "eileen" });
await refused("ConflictException", "CreateUser", { ...at, UserId: "eileen" });
await ask("AssociateFaces", { ...at, UserId: "eileen", FaceIds: [FaceId] });
assert.deepEqual((await ask("ListUsers", at)).Users, [{ UserId: "eileen", UserStatus: "ACTIVE" }]);
assert.equal((await ask("SearchUsersByImage", { ...at, Image: same })).UserMatches[0].User.UserId, "eileen");
await ask("SearchUsers", { ...at, FaceId });
await ask("DisassociateFaces", { ...at, UserId: "eileen", FaceIds: [FaceId] });
assert.deepEqual((await ask("DeleteFaces", { ...at, FaceIds: [FaceId] })).DeletedFaces, [FaceId]);
await ask("DeleteUser", { ...at, UserId: "eileen" });
const described = await ask("DescribeCollection", at);
assert.ok(described.CreationTimestamp instanceof Date);
assert.equal(described.FaceCount, 0);
await ask("DeleteCollection", at);
await refused("ResourceNotFoundException", "DescribeCollection", at);
await refused("InvalidImageFormatException", "DetectFaces", { Image: { Bytes: new Uint8Array([1, 2, 3]) } });
console.log(JSON.stringify([...called].sort()));
