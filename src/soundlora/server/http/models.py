"""These routes below /v1 list the endpoints, their prices and estimates of costs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from soundlora.contract.fields import at_most
from soundlora.server.endpoints import Endpoint
from soundlora.server.http.address import base_url
from soundlora.server.http.depends import Asks, service_of
from soundlora.server.http.openapi import document
from soundlora.server.http.platform import CURRENCY, ERRORS, EndpointIds, PlatformRoute, dollars, known
from soundlora.server.store.history import History

router = APIRouter(prefix="/v1", tags=["platform"], route_class=PlatformRoute, responses=ERRORS)


class ModelMetadata(BaseModel):
    display_name: str
    category: str
    status: Literal["active"] = "active"
    model_url: str = Field(description="Where requests are sent.")


class Model(BaseModel):
    endpoint_id: str
    metadata: ModelMetadata
    openapi: dict[str, Any] | None = Field(None, description="Its OpenAPI document, with expand=openapi-3.0.")


class Models(BaseModel):
    models: list[Model]
    next_cursor: str | None = None
    has_more: bool = False


class Price(BaseModel):
    endpoint_id: str
    unit_price: float
    unit: str
    currency: str = CURRENCY


class Prices(BaseModel):
    prices: list[Price]
    next_cursor: str | None = None
    has_more: bool = False


Quantity = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


class UnitQuantity(BaseModel):
    unit_quantity: Quantity = Field(description="How many units, such as steps of training.")


class CallQuantity(BaseModel):
    call_quantity: Quantity = Field(description="How many requests like those of the past.")


class UnitEstimate(BaseModel):
    estimate_type: Literal["unit_price"]
    endpoints: Annotated[dict[str, UnitQuantity], at_most(100)] = Field(min_length=1, max_length=100)


class HistoricalEstimate(BaseModel):
    estimate_type: Literal["historical_api_price"]
    endpoints: Annotated[dict[str, CallQuantity], at_most(100)] = Field(min_length=1, max_length=100)


class Estimated(BaseModel):
    estimate_type: Literal["unit_price", "historical_api_price"]
    total_cost: float
    currency: str = CURRENCY


class Meta(BaseModel):
    webhook_ip_ranges: list[str] = Field(
        description="Always empty: webhooks come from this server's own address, which it can't know."
    )


@router.get("/models")
def models(
    request: Request,
    caller: Asks,
    endpoint_ids: EndpointIds = None,
    q: Annotated[str, Query(description="Text that id or title have in them.")] = "",
    category: str | None = None,
    expand: Annotated[list[Literal["openapi-3.0"]] | None, Query()] = None,
) -> Models:
    """Return the endpoints of this server."""
    named = known(request, endpoint_ids)
    address = base_url(request)
    found = [
        Model(
            endpoint_id=endpoint.id,
            metadata=ModelMetadata(
                display_name=endpoint.title, category=endpoint.category, model_url=f"{address}/{endpoint.id}"
            ),
            openapi=document(endpoint, address) if expand else None,
        )
        for endpoint in service_of(request).endpoints.values()
        if (not named or endpoint.id in named)
        and q.lower() in f"{endpoint.id} {endpoint.title}".lower()
        and category in (None, endpoint.category)
    ]
    return Models(models=found)


@router.get("/models/pricing")
def pricing(request: Request, caller: Asks, endpoint_ids: EndpointIds = None) -> Prices:
    """Return the price of a unit of each named endpoint, or of all endpoints."""
    offered = service_of(request).endpoints
    return Prices(prices=[_price(offered[id]) for id in known(request, endpoint_ids) or offered])


@router.post("/models/pricing/estimate")
def estimate(
    request: Request,
    caller: Asks,
    wanted: Annotated[UnitEstimate | HistoricalEstimate, Field(discriminator="estimate_type")],
) -> Estimated:
    """Return the cost of a number of units, or of a number of requests like the caller's past ones."""
    service = service_of(request)
    for id in wanted.endpoints:
        if known(request, [id]) != [id]:  # The name is empty, or holds several.
            raise HTTPException(404, f"There is no endpoint {id!r}.")
    total = 0.0
    if isinstance(wanted, UnitEstimate):
        for id, units in wanted.endpoints.items():
            total += units.unit_quantity * service.endpoints[id].unit_price
    else:
        for id, calls in wanted.endpoints.items():
            count, nano_usd = History(service.database).spent(caller.key_id, id)
            if not count and service.endpoints[id].unit_price:
                raise HTTPException(400, f"No request to {id} was billed yet; ask for an estimate by unit_price.")
            total += calls.call_quantity * dollars(nano_usd) / max(1, count)
    return Estimated(estimate_type=wanted.estimate_type, total_cost=round(total, 9))


@router.get("/meta")
def meta(caller: Asks) -> Meta:
    """Return what receivers of webhooks may want to know."""
    return Meta(webhook_ip_ranges=[])


def _price(endpoint: Endpoint) -> Price:
    return Price(endpoint_id=endpoint.id, unit_price=endpoint.unit_price, unit=endpoint.unit)
