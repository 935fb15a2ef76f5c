"""What forms are made of, and who sees them."""

from typing import Annotated, Final

import msgspec
from litestar.enums import RequestEncodingType
from litestar.params import Body, QueryParameter

from central.parts import CentralRequest, person_of
from central.people.permissions import ROLES, Role

FORM: Final = Body(media_type=RequestEncodingType.URL_ENCODED)
Text = Annotated[str, msgspec.Meta(max_length=2000)]
Short = Annotated[str, msgspec.Meta(max_length=200)]
Revision = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]

# A form that is sent with an empty field asks for nothing in it.
Sought = Annotated[str, QueryParameter(pattern=r"^[^\x00-\x1f\x7f]{0,100}$")]


class WhyForm(msgspec.Struct, frozen=True):
    """Why, of the thing at a revision; `back` is the submission that the form was on."""

    reason: Text = ""
    revision: Revision = 1
    back: Short = ""


def may(request: CentralRequest, role: Role) -> bool:
    """Whether the person may do what this role may."""
    return ROLES.index(person_of(request).role) >= ROLES.index(role)
