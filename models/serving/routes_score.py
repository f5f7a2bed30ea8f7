"""The route /v1/churn:score: risks of leaving for rows of features, or for customers by id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from models.kinds import CHURN
from models.serving.batching import score_rows
from models.serving.errors import PROBLEMS
from models.serving.loaded import LoadedModel
from models.serving.questions import feature_values, look_up_features
from models.serving.schemas import ChurnAnswer, ChurnRequest, Problem
from models.serving.service import CANARY_KEY, Service, describe_model, json_response


def add_score_route(app: FastAPI, service: Service) -> None:
    """Adds /v1/churn:score. Requests are scored in batches; a shadow gets a copy of each."""

    @app.post(
        "/v1/churn:score",
        summary="Risk of leaving for customers given by features or by id",
        response_model=ChurnAnswer,
        responses={
            **PROBLEMS,
            404: {"model": Problem, "description": "A customer is not in the features table."},
        },
    )
    async def score(body: ChurnRequest, request: Request) -> Response:
        table = (
            None
            if body.rows
            else await run_in_threadpool(look_up_features, body.customer_ids, service.features)
        )
        customers = [row.customer_id for row in body.rows] or body.customer_ids
        dates = [row.as_of for row in body.rows] if table is None else table["as_of"].to_list()

        def values(model: LoadedModel) -> list[Sequence[Any]]:
            return feature_values(body.rows, table, model.model.config.columns)

        answer = await service.answer(
            CHURN.name,
            request,
            key=request.headers.get(CANARY_KEY) or customers[0],
            work=lambda model: service.batcher.score(model.model, values(model)),
        )
        risks = _named(answer.model, answer.result)
        service.offer_to_shadow(
            CHURN.name,
            answer,
            job=lambda shadow: _named(shadow, score_rows(shadow.model, values(shadow))),
            given=risks,
        )
        scores = [
            {"customer_id": customer, "as_of": day, "risks": row}
            for customer, day, row in zip(customers, dates, risks, strict=True)
        ]
        return json_response({"model": describe_model(CHURN.name, answer.model), "scores": scores})


def _named(model: LoadedModel, risks: Any) -> list[dict[str, float]]:
    """Rows of risks [rows, horizons] as {name of the horizon: risk}."""
    names = model.model.config.risk_names
    return [dict(zip(names, row, strict=True)) for row in risks.tolist()]
