"""Who may do what, said where a route is defined: `@get("/runs", access=VIEWERS)`; silence opens it to nobody.

Each role may do what the ones before it may: viewer, operator, reviewer, admin. A machine's key has scopes instead of
a role. What belongs to a site is shown only to who belongs to it (`sites`): that is asked in every query.
"""

from dataclasses import dataclass, replace
from typing import Final, Literal

Role = Literal["viewer", "operator", "reviewer", "admin"]
ROLES: Final[tuple[Role, ...]] = ("viewer", "operator", "reviewer", "admin")

Scope = Literal[
    "results:read",
    "samples:write",
    "deliveries:read",
    "deliveries:write",
    "devices:read",
]
SCOPES: Final[tuple[Scope, ...]] = (
    "results:read",
    "samples:write",
    "deliveries:read",
    "deliveries:write",
    "devices:read",
)


@dataclass(frozen=True, slots=True)
class Access:
    """Who may call an operation: people from this role on, devices, keys with this scope, or anyone at all."""

    role: Role | None = None
    device: bool = False
    scope: Scope | None = None
    anyone: bool = False

    def with_key(self, scope: Scope) -> "Access":
        """The same, and machines whose key has this scope."""
        return replace(self, scope=scope)

    def allows(self, role: Role) -> bool:
        """Whether a person of this role may."""
        return self.anyone or (self.role is not None and ROLES.index(role) >= ROLES.index(self.role))

    @property
    def words(self) -> str:
        """As the table in docs/permissions.md says it."""
        if self.anyone:
            return "anyone"
        said = [] if self.role is None else [f"{self.role} and up" if self.role != "admin" else "admin"]
        said += ["device"] if self.device else []
        said += [f"key with {self.scope}"] if self.scope else []
        return ", ".join(said) or "nobody"


NOBODY: Final = Access()
ANYONE: Final = Access(anyone=True)
VIEWERS: Final = Access("viewer")
OPERATORS: Final = Access("operator")
REVIEWERS: Final = Access("reviewer")
ADMINS: Final = Access("admin")
DEVICES: Final = Access(device=True)
