"""What people do to devices on the pages: claim one, shut one out."""

from typing import Annotated

import msgspec
from litestar import post
from litestar.response import Redirect, Template

from central.api.devices import DeviceName, new_claim, revoke_device
from central.api.paths import DevicePath
from central.dashboard.fields import FORM
from central.dashboard.pages import devices_page
from central.parts import CentralRequest, Wired
from central.people.permissions import ADMINS


class ClaimForm(msgspec.Struct, frozen=True):
    """The field of the claim form."""

    name: DeviceName


@post("/devices/claims", access=ADMINS, include_in_schema=False, status_code=200)
async def post_claim_form(request: CentralRequest, parts: Wired, data: Annotated[ClaimForm, FORM]) -> Template:
    """A claim code, shown once on the answer's page."""
    claim = await new_claim(request, parts, data.name)
    return await devices_page(request, parts, claim=claim)


@post("/devices/{device_id:str}/revoke", access=ADMINS, include_in_schema=False)
async def post_revoke_form(request: CentralRequest, parts: Wired, device_id: DevicePath) -> Redirect:
    """Shut a device out."""
    await revoke_device(request, parts, device_id)
    return Redirect("/devices", status_code=303)
