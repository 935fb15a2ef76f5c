"""The pages that people see, rendered on the server; every one works without internet and without scripts.

`pages`, `submissions`, `submission_forms`, `plates`, `worklists`, `waiting`, `trends`, `review`, `approval`, `assays`,
`deliveries`, `delivery_rules`, `previews`, `notices`, `quality`, `people`, `administration`, `audit`: one for each part
of the work. `fields` what forms are made of, `words` and `bench` what is said; `templates/` and `static/` how it looks.
"""

from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Router
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.static_files import create_static_files_router
from litestar.template import TemplateConfig

from central.api.paths import segment
from central.dashboard import (
    administration,
    approval,
    assays,
    audit,
    deliveries,
    delivery_rules,
    elsewhere,
    forms,
    notices,
    pages,
    people,
    plates,
    previews,
    quality,
    review,
    sign_in,
    submission_forms,
    submissions,
    trends,
    waiting,
    worklists,
)
from central.dashboard.bench import holes, size
from central.dashboard.words import utc

_HERE: Final = Path(__file__).parent

ROUTER: Final = Router(
    "/",
    route_handlers=[
        pages.get_runs_page,
        *submissions.HANDLERS,
        *submission_forms.HANDLERS,
        *plates.HANDLERS,
        *worklists.HANDLERS,
        *waiting.HANDLERS,
        *trends.HANDLERS,
        pages.get_devices_page,
        pages.get_device_page,
        audit.get_audit_page,
        *review.HANDLERS,
        *approval.HANDLERS,
        *deliveries.HANDLERS,
        *delivery_rules.HANDLERS,
        *previews.HANDLERS,
        *notices.HANDLERS,
        *quality.HANDLERS,
        *assays.HANDLERS,
        *people.HANDLERS,
        *administration.HANDLERS,
        sign_in.get_sign_in,
        sign_in.post_sign_in,
        sign_in.post_sign_out,
        sign_in.get_forgotten,
        sign_in.post_forgotten_form,
        *elsewhere.HANDLERS,
        forms.post_claim_form,
        forms.post_revoke_form,
    ],
    include_in_schema=False,
)


def static_files() -> Router:
    """Our own style sheet, script and mark."""
    return create_static_files_router("/static", [_HERE / "static"], name="static")


def template_config() -> TemplateConfig[Any]:
    """Jinja with escaping everywhere and an error for a name that does not exist."""
    environment = Environment(
        loader=PackageLoader("central.dashboard"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {
        "utc": utc,
        "iso": lambda at: at.isoformat(),
        "segment": segment,
        "holes": holes,
        "size": size,
        "query_value": lambda text: quote(str(text), safe=""),
    }
    return TemplateConfig(instance=JinjaTemplateEngine.from_environment(environment))
