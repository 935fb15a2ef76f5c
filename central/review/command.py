"""`wellread-central verify`: everything that is stored of runs, worked out anew."""

from pathlib import Path

import click

from central.command import data_dir_option, json_option, load, on_database, print_json


@click.command()
@json_option
@data_dir_option
def verify(as_json: bool, data_dir: Path | None) -> None:
    """Work out every result anew from stored calls and corrections, and name every difference."""
    from central.review.verify import verify as work_out

    found = on_database(load(data_dir=data_dir), work_out)
    if as_json:
        print_json(found)
    else:
        for each in found.differences:
            click.echo(f"{each.kind} {each.id}: {each.field} is {each.stored}, follows {each.computed}")
        counted = f"{found.runs} runs, {found.corrections} corrections, {found.signatures} signatures"
        click.echo(f"{counted}, {found.submissions} submissions: {len(found.differences)} differences")
    if found.differences:
        raise SystemExit(1)
