"""`tidegate bench`: how much load a model bears, and what its autoscaler should hold."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.asking import CLIENT_CERT, header, model_to_ask
from tidegate.cli.duration import Duration
from tidegate.cli.output import emit, output_option, quiet_option
from tidegate.errors import TidegateError, UsageError
from tidegate.interrupts import INTERRUPTED, ends_at_once

if TYPE_CHECKING:
    from tidegate.bench.requests import Questions
    from tidegate.bench.run import Work
    from tidegate.bench.served import Served
    from tidegate.bench.sweep import Findings, Tell
    from tidegate.cli.bench_view import Measured
    from tidegate.client import Client, ModelAddress, TensorMetadata

PLOTS = (".svg", ".html")
OF_A_MODEL = "/v2/models/"
ADDRESSES = ("http://", "https://", "grpc://", "grpcs://")
MOST_RATE = 200_000  # a second: more than one core can note, let alone send
EXCEEDED = 1
SHORTEST = 1.0  # seconds

Loaded = tuple["ModelAddress", "Questions", "Served | None"]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("target", metavar="REF|URL")
@click.option("--slo-p99", type=Duration(), help="What the p99 must stay within; else 10 times what a request takes.")
@click.option("--duration", default="60s", show_default=True, type=Duration(), help="About how long to measure in all.")
@click.option("--connections", default=64, show_default=True, type=click.IntRange(1, 4096), help="Requests at once.")
@click.option("--max-rate", type=click.FloatRange(0.01, MOST_RATE), help="Never ask for more requests a second.")
@click.option("--rate", type=click.FloatRange(0.01, MOST_RATE), help="Look at this rate only.")
@click.option("--closed", is_flag=True, help="Closed loop only: every connection asks again as soon as it may.")
@click.option("--protocol", type=click.Choice(["binary", "json"]), default="binary", show_default=True, help="Tensors.")
@click.option("-i", "--input", "inputs", multiple=True, metavar="[NAME=]VALUE", help="The request, as for predict.")
@click.option("--rows", default=1, show_default=True, type=click.IntRange(1, 65536), help="Rows a request.")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="Send this header too.")
@CLIENT_CERT
@click.option("--cores", type=click.IntRange(1), help="REF: cores of the server; all but one if not given.")
@click.option("--device", type=click.Choice(["cpu", "cuda", "tensorrt"]), help="REF: where the model runs; the CPU.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Draw it here: FILE.svg or FILE.html.")
@output_option
@quiet_option
def bench(target: str, output: str, quiet: bool, **given: Any) -> int:
    """Find out how much load a model bears.

    Requests come at rates of their own, as users' do, and each latency counts from the moment when its request was
    meant to be sent. The rate rises until the p99 no longer holds --slo-p99; the autoscaling target that follows is
    printed as it goes into a manifest.

    REF is a bundle (a directory or any bundle address): a server is started for it, and the rows of its golden samples
    are the requests. URL is a model that runs: http://HOST:PORT/v2/models/NAME. With --quiet: the requests per second
    for the manifest. Exit 1 when the limit does not hold, or the time was too short to tell.

    \b
    Example: tidegate bench bundle --slo-p99 30ms --plot latency.svg
    """
    from tidegate.author.extras import need

    usable(given)
    with ends_at_once():
        for module in ("numpy", "httptools", "uvloop"):
            need(module, extra="bench")
        from tidegate.bench.sweep import Findings
        from tidegate.bench.target import How, work_on
        from tidegate.cli.bench_view import Measured
        from tidegate.client.certificate import Certificate

    headers = dict(map(header, given["headers"]))
    measured: Measured | None = None
    try:
        with loaded(target, headers, given) as (address, asked, server):
            shown = Certificate(*given["client_cert"]) if given["client_cert"] else None
            how = How(given["protocol"], headers, given["connections"], shown)
            cores = server.cores if server else 0
            if server and cores:
                how = replace(how, server_seconds=server.cpu_seconds)
            work, limit_given = work_on(address, asked, how), given["slo_p99"] is not None
            measured = Measured(
                Findings(), address.model, address.server, given["protocol"], asked.said, limit_given, cores
            )
            measure(work, measured.found, given)
    except (TidegateError, KeyboardInterrupt) as broken:  # what was measured until then is not lost
        interrupted = isinstance(broken, KeyboardInterrupt)
        if measured and (interrupted or measured.found.alone or measured.found.steps):
            show(measured, output, given["plot"], quiet=quiet)
        if interrupted:
            return INTERRUPTED
        raise
    show(measured, output, given["plot"], quiet=quiet)
    return 0 if measured.found.holds else EXCEEDED


def usable(given: dict[str, Any]) -> None:
    """Raise UsageError for options that cannot be met, before anything is started; the plot has its folder then."""
    rates = [given[option] for option in ("rate", "max_rate") if given[option] is not None]
    if given["closed"] and (rates or given["plot"]):
        raise UsageError("a closed loop has no rates", where="--closed", do="leave --rate, --max-rate and --plot away")
    if len(rates) > 1:
        raise UsageError("one rate has no highest one", where="--rate", do="leave --max-rate away")
    if not all(map(math.isfinite, rates)):
        raise UsageError("not a number of requests a second", where="--rate, --max-rate", do="write one such as 200")
    if given["duration"] < SHORTEST:
        raise UsageError("too short to measure anything", where="--duration", do="give it a second at least")
    if given["slo_p99"] is not None and given["slo_p99"] <= 0:
        raise UsageError("no answer takes no time", where="--slo-p99", do="write a duration such as 30ms")
    if given["plot"]:
        if given["plot"].suffix not in PLOTS:
            raise UsageError("neither .svg nor .html", where=f"--plot {given['plot']}", do="name a file of these kinds")
        given["plot"].parent.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def loaded(target: str, headers: dict[str, str], given: dict[str, Any]) -> Iterator[Loaded]:
    """The model at a URL and what it is asked; for a bundle a server runs while this lasts."""
    if target.startswith(ADDRESSES) or OF_A_MODEL in target:
        for option in ("cores", "device"):
            if given[option]:
                raise UsageError("this server runs already", where=f"--{option}", do="leave it away")
        if target.startswith(ADDRESSES[2:]):
            raise UsageError("only HTTP can be measured", where=target, do="give the address of its HTTP port")
        from tidegate.client import Client

        address = model_to_ask(target, None, "", local=False)
        with Client(address.server, headers=headers, client_cert=given["client_cert"]) as client:
            asked = what_to_ask(client, address, given["inputs"], lambda takes: of_specs(takes(), given["rows"]))
        yield address, asked, None
        return
    if given["client_cert"]:
        raise UsageError("the server of a bundle asks for none", where="--client-cert", do="leave it away")
    from tidegate.author.checking import here
    from tidegate.author.extras import need
    from tidegate.bench.requests import of_bundle
    from tidegate.bench.served import Serve, served
    from tidegate.bundle.manifest import read_bundle_dir
    from tidegate.client import Client

    need("onnxruntime", extra="runtime")
    with here(target) as folder:
        bundle = read_bundle_dir(folder)
        name = bundle.manifest.name
        with served(Serve(folder, name, given["device"] or "cpu", given["cores"])) as server:
            address = model_to_ask(f"{server.url}{OF_A_MODEL}{name}", None, "", local=False)
            with Client(address.server, headers=headers) as client:
                asked = what_to_ask(client, address, given["inputs"], lambda _: of_bundle(bundle, given["rows"]))
            yield address, asked, server


Specs = Callable[[], "dict[str, TensorMetadata]"]


def what_to_ask(
    client: Client, address: ModelAddress, inputs: tuple[str, ...], otherwise: Callable[[Specs], Questions]
) -> Questions:
    """The inputs that were given, or what `otherwise` makes of the model's own description."""
    from tidegate.bench.requests import Questions
    from tidegate.cli.inputs import read_inputs

    def takes() -> dict[str, TensorMetadata]:
        return dict(client.metadata(address.model, version=address.version).inputs)

    return Questions([read_inputs(inputs, takes)], "the input given") if inputs else otherwise(takes)


def of_specs(takes: Mapping[str, TensorMetadata], rows: int) -> Questions:
    from tidegate.bench.requests import made_up

    return made_up(list(takes.values()), rows)


def measure(work: Work, found: Findings, given: dict[str, Any]) -> None:
    """Fill `found`, which keeps what there is when an error or Ctrl-C ends it."""
    import uvloop

    from tidegate.bench.sweep import Aim, at_once, at_rate, sweep

    aim = Aim(given["slo_p99"], given["duration"], given["max_rate"] or math.inf)
    with telling() as tell:
        if given["rate"]:
            program = at_rate(work, given["rate"], aim, found, tell)
        else:
            program = (at_once if given["closed"] else sweep)(work, aim, found, tell)
        uvloop.run(program)


@contextlib.contextmanager
def telling() -> Iterator[Tell]:
    """A line on stderr that says what is measured now, when that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status("") as status:
        yield status.update


def show(measured: Measured, output: str, drawn: Path | None, *, quiet: bool) -> None:
    """Print it, and draw it where that was asked for."""
    from tidegate.bench.plot import plot
    from tidegate.cli.bench_view import conclusions, document, page, print_measured
    from tidegate.page import write_page

    if not quiet:
        emit(document(measured), output=output, table=lambda: print_measured(measured))
    elif measured.target:
        click.echo(f"{measured.target.requests_per_second:.10g}")
    else:
        click.echo("\n".join(conclusions(measured)), err=True)
    if drawn is not None and measured.found.steps:
        write_page(page(measured) if drawn.suffix == ".html" else plot(measured.found, measured.title), drawn)
    elif drawn is not None:
        click.echo(f"note    nothing is drawn in {drawn}: no level was measured", err=True)
