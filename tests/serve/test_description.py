"""Requests that are made of the OpenAPI description: each answer is as described, none is 500."""

import os

import pytest

pytest.importorskip("schemathesis", reason="it is a development tool")
import hypothesis
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from keras_espmedsam.serve import ServedModel, ServerSettings, create_app

EXAMPLES = int(os.environ.get("ESPMEDSAM_SCHEMA_EXAMPLES", "6"))
"""Requests for each method of each address."""

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
HEADERS = {"Host": "127.0.0.1"}


def test_answers_are_as_described(judged, recognizer, eye, tmp_path):
    (tmp_path / "DOE.png").write_bytes(eye)
    models = [ServedModel("bright", judged, recognizer)]
    app = create_app(models, ServerSettings(studies=tmp_path, seconds=20, max_bytes=100_000))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=HEADERS)
    (image,) = app_images(app)
    statuses, labels = set(), set()
    for result in schema.get_all_operations():
        operation = result.ok()
        labels.add(operation.label)

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        def check(case):
            # What exists, as no name of chance does.
            if "name" in (case.path_parameters or {}):
                case.path_parameters["name"] = "bright"
            for name in ("image", "label"):
                if name in (case.query or {}) and case.method != "PUT":
                    case.query[name] = image
            response = case.call(headers=HEADERS)
            statuses.add(response.status_code)
            case.validate_response(response, checks=CHECKS)

        check()
    assert len(labels) > 30
    assert {200, 400, 404} <= statuses


def app_images(app):
    """The ids of the studies of an application."""
    from starlette.testclient import TestClient

    client = TestClient(app, "http://127.0.0.1")
    return client.get("/datastore/?output=all").json()["objects"]
