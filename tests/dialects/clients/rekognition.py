"""Call every operation by boto3, as its users do, and hold each answer against botocore's own model.

Usage: PORTRAIT SAME_PERSON OTHER_PERSON NO_FACE; prints the operations that were called.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

CONFIG = Config(retries={"total_max_attempts": 1})
client = boto3.client("rekognition", config=CONFIG)
model = client.meta.service_model
called: set[str] = set()
A = "Team_A.2026"
COMMON = ("UnknownOperationException", "InvalidSignatureException", "UnrecognizedClientException")  # of all services
WRONG = {"aws_secret_access_key": "wrong"}
portrait, same, other, nobody = ({"Bytes": Path(path).read_bytes()} for path in sys.argv[1:5])


def ask(operation: str, **wanted: object) -> dict[str, Any]:
    found: dict[str, Any] = getattr(client, operation)(**wanted)
    found.pop("ResponseMetadata")
    name = client.meta.method_to_api_mapping[operation]
    called.add(name)
    report = ParamValidator().validate(found, model.operation_model(name).output_shape)
    assert not report.has_errors(), (name, report.generate_report())
    return found


def refused(code: str, operation: str, caller: object = client, **wanted: object) -> None:
    try:
        getattr(caller, operation)(**wanted)
    except ClientError as raised:
        error = raised.response
    else:
        raise AssertionError(f"{operation} was not refused")
    assert error["Error"]["Code"] == code, (operation, error)
    assert error["Error"]["Message"], operation
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400
    shapes = model.operation_model(client.meta.method_to_api_mapping[operation]).error_shapes
    assert code in {*(shape.name for shape in shapes), *COMMON}


def collections() -> None:
    assert ask("create_collection", CollectionId=A)["StatusCode"] == 200
    ask("create_collection", CollectionId="b")
    refused("ResourceAlreadyExistsException", "create_collection", CollectionId=A)
    refused("InvalidParameterException", "create_collection", CollectionId="not allowed")
    first = ask("list_collections", MaxResults=1)
    assert first["CollectionIds"] == [A]
    assert ask("list_collections", NextToken=first["NextToken"])["CollectionIds"] == ["b"]
    assert [
        page["CollectionIds"]
        for page in client.get_paginator("list_collections").paginate(PaginationConfig={"PageSize": 1})
    ] == [[A], ["b"]]
    refused("InvalidPaginationTokenException", "list_collections", NextToken="forged")
    ask("delete_collection", CollectionId="b")
    refused("ResourceNotFoundException", "delete_collection", CollectionId="b")
    refused("ResourceNotFoundException", "describe_collection", CollectionId="b")
    refused("UnknownOperationException", "detect_labels", Image=portrait)


def images() -> None:
    (face,) = ask("detect_faces", Image=portrait, Attributes=["ALL"])["FaceDetails"]
    assert 0.1 < face["BoundingBox"]["Left"] < face["BoundingBox"]["Left"] + face["BoundingBox"]["Width"] < 0.9
    assert {"eyeLeft", "eyeRight", "nose"} <= {each["Type"] for each in face["Landmarks"]}
    assert ask("detect_faces", Image=nobody)["FaceDetails"] == []
    alike = ask("compare_faces", SourceImage=portrait, TargetImage=same)
    assert [each["Similarity"] > 80 for each in alike["FaceMatches"]] == [True]
    unlike = ask("compare_faces", SourceImage=portrait, TargetImage=other)
    assert (unlike["FaceMatches"], len(unlike["UnmatchedFaces"])) == ([], 1)
    refused("InvalidParameterException", "compare_faces", SourceImage=portrait, TargetImage=nobody)
    refused("InvalidImageFormatException", "detect_faces", Image={"Bytes": b"no image"})
    refused("ImageTooLargeException", "detect_faces", Image={"Bytes": bytes(5_242_881)})
    refused("InvalidS3ObjectException", "detect_faces", Image={"S3Object": {"Bucket": "abc", "Name": "x.jpg"}})


def faces() -> str:
    indexed = ask("index_faces", CollectionId=A, Image=portrait, ExternalImageId="eileen:1.png", MaxFaces=1)
    (record,) = indexed["FaceRecords"]
    face = record["Face"]
    assert (face["ExternalImageId"], indexed["UnindexedFaces"]) == ("eileen:1.png", [])
    ask("index_faces", CollectionId=A, Image=other, DetectionAttributes=["ALL"])
    assert ask("index_faces", CollectionId=A, Image=nobody)["FaceRecords"] == []
    refused("ResourceNotFoundException", "index_faces", CollectionId="none", Image=portrait)
    page = ask("list_faces", CollectionId=A, MaxResults=1)
    assert page["Faces"] == [face]
    rest = ask("list_faces", CollectionId=A, NextToken=page["NextToken"])["Faces"]
    (hopper,) = rest
    assert ask("list_faces", CollectionId=A, FaceIds=[hopper["FaceId"]])["Faces"] == rest
    (match,) = ask("search_faces_by_image", CollectionId=A, Image=same)["FaceMatches"]
    assert match["Face"] == face
    assert match["Similarity"] > 80
    everybody = ask("search_faces_by_image", CollectionId=A, Image=same, FaceMatchThreshold=0, MaxFaces=1)
    assert len(everybody["FaceMatches"]) == 1
    refused("InvalidParameterException", "search_faces_by_image", CollectionId=A, Image=nobody)
    assert ask("search_faces", CollectionId=A, FaceId=face["FaceId"])["FaceMatches"] == []
    again = ask("index_faces", CollectionId=A, Image=same)["FaceRecords"][0]["Face"]
    (match,) = ask("search_faces", CollectionId=A, FaceId=face["FaceId"])["FaceMatches"]
    assert match["Face"] == again
    nowhere = "00000000-0000-4000-8000-000000000000"
    refused("ResourceNotFoundException", "search_faces", CollectionId=A, FaceId=nowhere)
    gone = ask("delete_faces", CollectionId=A, FaceIds=[hopper["FaceId"], nowhere])
    assert gone["DeletedFaces"] == [hopper["FaceId"]]
    assert gone["UnsuccessfulFaceDeletions"] == [{"FaceId": nowhere, "Reasons": ["FACE_NOT_FOUND"]}]
    return str(face["FaceId"])


def users(first: str) -> None:
    for user in ("anna", "bea:2"):
        ask("create_user", CollectionId=A, UserId=user, ClientRequestToken=f"{user[:3]}-token")
        ask("create_user", CollectionId=A, UserId=user, ClientRequestToken=f"{user[:3]}-token")
        refused("ConflictException", "create_user", CollectionId=A, UserId=user)
    refused(
        "IdempotentParameterMismatchException",
        "create_user",
        CollectionId=A,
        UserId="c",
        ClientRequestToken="ann-token",
    )
    hopper = ask("index_faces", CollectionId=A, Image=other)["FaceRecords"][0]["Face"]["FaceId"]
    again = next(
        face["FaceId"] for face in ask("list_faces", CollectionId=A)["Faces"] if face["FaceId"] not in (first, hopper)
    )
    token = {"ClientRequestToken": "associate"}
    wanted = {"CollectionId": A, "UserId": "anna", "FaceIds": [first, again, hopper]}
    given = ask("associate_faces", **wanted, **token)
    assert given == ask("associate_faces", **wanted, **token)
    assert given["AssociatedFaces"] == [{"FaceId": first}, {"FaceId": again}]
    (failed,) = given["UnsuccessfulFaceAssociations"]
    assert (failed["FaceId"], failed["Reasons"]) == (hopper, ["LOW_MATCH_CONFIDENCE"])
    assert {face["FaceId"] for face in ask("list_faces", CollectionId=A, UserId="anna")["Faces"]} == {first, again}
    stolen = ask("associate_faces", CollectionId=A, UserId="bea:2", FaceIds=[first])["UnsuccessfulFaceAssociations"]
    assert stolen[0]["Reasons"] == ["ASSOCIATED_TO_A_DIFFERENT_USER"]
    kept = ask("delete_faces", CollectionId=A, FaceIds=[first])["UnsuccessfulFaceDeletions"]
    assert kept == [{"FaceId": first, "UserId": "anna", "Reasons": ["ASSOCIATED_TO_AN_EXISTING_USER"]}]
    page = ask("list_users", CollectionId=A, MaxResults=1)
    assert page["Users"] == [{"UserId": "anna", "UserStatus": "ACTIVE"}]
    assert ask("list_users", CollectionId=A, NextToken=page["NextToken"])["Users"] == [
        {"UserId": "bea:2", "UserStatus": "CREATED"}
    ]
    found = ask("search_users_by_image", CollectionId=A, Image=same)
    assert [each["User"]["UserId"] for each in found["UserMatches"]] == ["anna"]
    assert [each["User"]["UserId"] for each in ask("search_users", CollectionId=A, FaceId=again)["UserMatches"]] == [
        "anna"
    ]
    assert ask("search_users", CollectionId=A, UserId="anna")["UserMatches"] == []
    refused("ResourceNotFoundException", "search_users", CollectionId=A, UserId="nobody")
    refused("InvalidParameterException", "search_users", CollectionId=A)
    taken = ask("disassociate_faces", CollectionId=A, UserId="anna", FaceIds=[again, hopper])
    assert taken["DisassociatedFaces"] == [{"FaceId": again}]
    assert taken["UnsuccessfulFaceDisassociations"] == [{"FaceId": hopper, "Reasons": ["FACE_NOT_FOUND"]}]
    assert ask("delete_faces", CollectionId=A, FaceIds=[again])["DeletedFaces"] == [again]
    assert ask("describe_collection", CollectionId=A)["UserCount"] == 2
    ask("delete_user", CollectionId=A, UserId="anna")
    refused("ResourceNotFoundException", "delete_user", CollectionId=A, UserId="anna")
    assert ask("describe_collection", CollectionId=A)["UserCount"] == 1
    assert first in {face["FaceId"] for face in ask("list_faces", CollectionId=A)["Faces"]}


def credentials() -> None:
    own = os.environ["AWS_ACCESS_KEY_ID"]
    for id_, code in ((own, "InvalidSignatureException"), ("AKIANOBODY", "UnrecognizedClientException")):
        other = boto3.client("rekognition", config=CONFIG, aws_access_key_id=id_, **WRONG)
        refused(code, "list_collections", other)


collections()
images()
users(faces())
credentials()
sys.stdout.write(json.dumps(sorted(called)))
