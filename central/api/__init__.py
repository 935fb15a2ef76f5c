"""The HTTP API, one file per noun; `access` says who may call what, `problems` how a refusal looks.

`runs`, `results`, `lists`, `submissions`, `events`: results. `devices`, `images`: the fleet. `people`: sign-in.
`letters`: what was refused. `audit`: every change. `operations`: health and metrics. `notices`: who
is told of what. `quality`: how devices read. `withdrawals`: what was sent and is void. `paths`: names in addresses.
"""

from typing import Final

from litestar import Router

from central.api import (
    audit,
    changes,
    controls,
    deliveries,
    delivery_previews,
    delivery_rules,
    devices,
    events,
    forgotten,
    identities,
    images,
    keys,
    letters,
    lists,
    notices,
    operations,
    people,
    plates,
    profiles,
    quality,
    results,
    review,
    runs,
    sessions,
    sites,
    statistics,
    submissions,
    trends,
    unmatched,
    users,
    withdrawals,
    worklists,
)
from central.web.etags import versioned

ROUTERS: Final = (
    Router(
        "/api/v1",
        route_handlers=[
            Router("/", route_handlers=[runs.get_runs, runs.get_one_run, events.get_events], tags=["Runs"]),
            Router("/", route_handlers=[*results.HANDLERS, *lists.HANDLERS], tags=["Results"]),
            Router(
                "/", route_handlers=[*submissions.HANDLERS, *plates.HANDLERS, *trends.HANDLERS], tags=["Submissions"]
            ),
            Router("/", route_handlers=worklists.HANDLERS, tags=["Worklists"]),
            Router("/", route_handlers=unmatched.HANDLERS, tags=["Matching"]),
            Router(
                "/",
                route_handlers=[
                    devices.get_devices,
                    devices.get_device,
                    devices.post_claim,
                    devices.post_enrolment,
                    devices.post_revoke,
                ],
                tags=["Devices"],
            ),
            Router("/", route_handlers=[audit.get_audit, audit.get_audit_export], tags=["Audit trail"]),
            Router("/", route_handlers=[images.get_picture, images.head_picture, images.put_picture], tags=["Images"]),
            Router(
                "/",
                route_handlers=[people.post_token, people.post_refresh, people.delete_token, people.get_me],
                tags=["People"],
            ),
            Router(
                "/",
                route_handlers=[*sessions.HANDLERS, forgotten.post_forgotten, *users.HANDLERS, *identities.HANDLERS],
                tags=["People"],
            ),
            Router("/", route_handlers=[*keys.HANDLERS, *sites.HANDLERS], tags=["Keys and sites"]),
            Router("/", route_handlers=review.HANDLERS, tags=["Review"]),
            Router(
                "/",
                route_handlers=[changes.get_changes, changes.get_change_events, changes.follow_changes],
                tags=["Changes"],
            ),
            Router("/", route_handlers=delivery_rules.HANDLERS, tags=["Deliveries"]),
            Router("/", route_handlers=deliveries.HANDLERS, tags=["Deliveries"]),
            Router("/", route_handlers=delivery_previews.HANDLERS, tags=["Deliveries"]),
            Router("/", route_handlers=withdrawals.HANDLERS, tags=["Deliveries"]),
            Router("/", route_handlers=controls.HANDLERS, tags=["Controls"]),
            Router("/", route_handlers=profiles.HANDLERS, tags=["Assay profiles"]),
            Router("/", route_handlers=[*statistics.HANDLERS, *quality.HANDLERS], tags=["Statistics"]),
            Router("/", route_handlers=notices.HANDLERS, tags=["Notices"]),
            Router(
                "/", route_handlers=[letters.get_dead_letters, letters.get_dead_letter_payload], tags=["Dead letters"]
            ),
        ],
        after_request=versioned,
    ),
    Router(
        "/",
        route_handlers=[operations.get_health, operations.get_ready, operations.get_metrics],
        tags=["Operations"],
    ),
)
