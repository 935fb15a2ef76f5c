"""`wellread-central worklist`: a file of what is to be done, looked at first or done at once."""

from pathlib import Path

import click

from central.command import data_dir_option, json_option, load, now, on_database, print_json
from central.people.sites import MAIN_SITE


@click.command("worklist")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--site", default=MAIN_SITE, show_default=True, help="The laboratory that it is for.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@json_option
@data_dir_option
def worklist(file: Path, site: str, dry_run: bool, as_json: bool, data_dir: Path | None) -> None:
    """Register what FILE says (CSV or XLSX): all of it, or nothing where something stands against it."""
    from central.audit.chain import COMMAND
    from central.laboratory.importing import counted, preview, put
    from central.laboratory.sheets import MAX_BYTES, lines_of
    from central.laboratory.worklist import WorklistError, parse

    settings = load(data_dir=data_dir)
    try:
        with file.open("rb") as opened:
            wanted = parse(lines_of(opened.read(MAX_BYTES + 1)))
    except WorklistError as error:
        raise click.ClickException("\n".join(each.words for each in error.errors)) from error
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    found = on_database(settings, lambda engine: preview(engine, site, wanted), new=True)
    if not dry_run and not found.conflicts:
        doing = lambda engine: put(  # noqa: E731
            engine, site, wanted, actor=COMMAND, origin="worklist", now=now(), digest=found.digest
        )
        on_database(settings, doing)
    if as_json:
        print_json(found)
    else:
        for step in found.conflicts:
            click.echo(f"in the way: line {step.line}, {step.kind} {step.name}: {step.what}")
        made = ", ".join(_number(count, kind) for kind, count in sorted(counted(found.create).items())) or "nothing"
        verb = "would be" if dry_run or found.conflicts else "was"
        same = _number(found.same, "thing")
        click.echo(f"{made} {verb} registered, {len(found.change)} filled in; {same} there already")
        if found.ignored:
            click.echo(f"columns that say nothing here: {', '.join(found.ignored)}")
    if found.conflicts:
        raise SystemExit(1)


def _number(count: int, kind: str) -> str:
    return f"{count} {kind}" if count == 1 else f"{count} {kind}s"
