"""What people do on the pages: sign in and out, claim a device, shut one out. Every answer but a refusal redirects."""

from typing import Annotated, Any

import msgspec
from litestar import Response, get, post
from litestar.enums import RequestEncodingType
from litestar.params import Body, QueryParameter
from litestar.response import Redirect, Template

from central.api.devices import DeviceName, new_claim, revoke_device
from central.api.paths import DevicePath
from central.api.people import address_of
from central.dashboard.pages import devices_page
from central.parts import CentralRequest, Wired, person_of
from central.people.access import SESSION_COOKIE
from central.people.auth import NotSignedInError, TooManyTriesError
from central.people.permissions import ADMINS, ANYONE, VIEWERS
from central.people.tokens import SESSION_LIFE

_Form = Body(media_type=RequestEncodingType.URL_ENCODED)


class SignInForm(msgspec.Struct, frozen=True):
    """The fields of the sign-in page."""

    name: Annotated[str, msgspec.Meta(max_length=64)] = ""
    password: Annotated[str, msgspec.Meta(max_length=256)] = ""
    next: Annotated[str, msgspec.Meta(max_length=2000)] = "/"


class ClaimForm(msgspec.Struct, frozen=True):
    """The field of the claim form."""

    name: DeviceName


@get("/sign-in", access=ANYONE, include_in_schema=False)
async def get_sign_in(next_page: Annotated[str, QueryParameter(name="next", max_length=2000)] = "/") -> Template:
    """The sign-in page."""
    return _sign_in_page(next_page)


@post("/sign-in", access=ANYONE, include_in_schema=False)
async def post_sign_in(request: CentralRequest, parts: Wired, data: Annotated[SignInForm, _Form]) -> Response[Any]:
    """A session cookie and the page that was asked for, or the form again with a message."""
    try:
        person = await parts.people.sign_in(name=data.name, password=data.password, address=address_of(request))
    except NotSignedInError:
        return _sign_in_page(data.next, data.name, "The name or the password is wrong.", 401)
    except TooManyTriesError as error:
        wait = f"Too many failed sign-ins. Try again in {error.wait_s:.0f} seconds."
        return _sign_in_page(data.next, data.name, wait, 429)
    answer = Redirect(own_page(data.next), status_code=303)
    answer.set_cookie(
        key=SESSION_COOKIE,
        value=parts.people.issue(person, "pages"),
        max_age=int(SESSION_LIFE.total_seconds()),
        httponly=True,
        secure=parts.settings.secure_cookies,
        samesite="strict",
    )
    return answer


@post("/sign-out", access=VIEWERS, include_in_schema=False)
async def post_sign_out(request: CentralRequest, parts: Wired) -> Redirect:
    """End every session of this person."""
    await parts.people.sign_out(person_of(request))
    answer = Redirect("/sign-in", status_code=303)
    answer.delete_cookie(SESSION_COOKIE)
    return answer


@post("/devices/claims", access=ADMINS, include_in_schema=False, status_code=200)
async def post_claim_form(request: CentralRequest, parts: Wired, data: Annotated[ClaimForm, _Form]) -> Template:
    """A claim code, shown once on the answer's page."""
    claim = await new_claim(request, parts, data.name)
    return await devices_page(request, parts, claim=claim)


@post("/devices/{device_id:str}/revoke", access=ADMINS, include_in_schema=False)
async def post_revoke_form(request: CentralRequest, parts: Wired, device_id: DevicePath) -> Redirect:
    """Shut a device out."""
    await revoke_device(request, parts, device_id)
    return Redirect("/devices", status_code=303)


def own_page(address: str) -> str:
    """The address if it is a path of ours, else the first page: nobody is sent elsewhere after signing in."""
    plain = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if plain and "\\" not in address else "/"


def _sign_in_page(next_page: str, name: str = "", message: str = "", status_code: int = 200) -> Template:
    context = {"next": own_page(next_page), "name": name, "message": message, "person": None}
    return Template("sign-in.html", context=context, status_code=status_code)
