"""predict, openapi: one request to a model, and what anybody may ask of it."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tidegate.cli.duration import Duration
from tidegate.cli.output import emit, output_option, print_table, quiet_option
from tidegate.cli.target import local_options
from tidegate.errors import TidegateError, UsageError

if TYPE_CHECKING:
    from tidegate.cli.inputs import Specs
    from tidegate.client import ModelAddress, Prediction, RequestRefused
    from tidegate.client.tensors import Array

HELP = {"help_option_names": ["-h", "--help"]}
MOST_SHOWN = 8  # values of an output in a table
REFUSED = 400
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
HEADER_VALUE = re.compile(r"[\t -~\x80-\xff]*")
OF_THE_BODY = frozenset({  # where it ends and what it holds: the client writes these itself
    "content-encoding", "content-length", "content-type", "host", "inference-header-content-length",
    "transfer-encoding",
})  # fmt: skip
CLIENT_CERT = click.option(
    "--client-cert", type=(click.Path(path_type=Path), click.Path(path_type=Path)), metavar="CERT KEY",
    help="PEM files, for a server that asks for one.",
)  # fmt: skip
SERVER = re.compile(  # a URL, or a path alone
    r"(?=.)(https?://([\w.-]+|\[[\da-f:.]+\])(:\d{1,5})?)?(/[\w.~!$&'()*+,;=:@%/-]*)?", re.ASCII | re.IGNORECASE
)


@click.command(context_settings=HELP)
@click.argument("target", metavar="NAME|URL", required=False)
@click.option("-i", "--input", "inputs", multiple=True, metavar="[NAME=]VALUE", help="JSON, FILE.json|npy|npz, or -.")
@click.option("--version", default="", help="Ask this version or revision, whatever the weights say.")
@click.option("--header", "headers", multiple=True, metavar="NAME:VALUE", help="Send this header too.")
@CLIENT_CERT
@click.option("--timeout", default="30s", show_default=True, type=Duration(), help="How long to wait for the answer.")
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Write the outputs here (.npz).")
@local_options
@output_option
@quiet_option
def predict(target: str | None, output: str, quiet: bool, **given: Any) -> None:
    """Ask a model once.

    NAME is a deployment of a `tidegate run` on this machine; URL is the address of a model anywhere, as
    http://HOST:PORT/v2/models/NAME (https://, grpc:// or grpcs://). An input is NAME=VALUE with JSON or a file (.json,
    .npy), all of them together a JSON object or a file (.json, .npz); - is JSON on standard input. With --quiet: the
    outputs as one line of JSON.

    \b
    Example: tidegate predict fraud --input x='[[1, 2, 3, 4]]'
    """
    from tidegate.author.extras import need

    need("numpy", extra="client")
    from tidegate.cli.inputs import read_inputs
    from tidegate.client import Client, RequestRefused

    headers = dict(map(header, given["headers"]))
    address = model_to_ask(target, given["state"], given["version"], local=given["local"])
    client_cert = given["client_cert"]
    with Client(address.server, timeout=given["timeout"], headers=headers, client_cert=client_cert) as client:
        takes = cache(lambda: client.metadata(address.model, version=address.version).inputs)
        inputs = read_inputs(given["inputs"], takes)
        try:
            answer = client.infer(address.model, inputs, version=address.version)
        except RequestRefused as refused:
            raise advised(refused, inputs, takes) from None
    if given["save"]:
        save(answer, given["save"])
    if quiet:
        click.echo(json.dumps({name: one["data"] for name, one in document(answer)["outputs"].items()}))
        return
    emit(document(answer), output=output, table=lambda: print_answer(answer))


def advised(refused: RequestRefused, given: Mapping[str, Array], takes: Specs) -> TidegateError:
    """The server's refusal with what to write instead, as far as the model's inputs tell it."""
    from tidegate.client import ClientError
    from tidegate.client.tensors import datatype_of

    try:
        known = takes() if refused.status == REFUSED else {}
    except ClientError:
        return refused
    if known and not given:
        listed = ", ".join(f"{one.name} {one.datatype} {list(one.shape)}" for one in known.values())
        return UsageError(f"no input: it takes {listed}", do=f"--input {next(iter(known))}=...")
    for name, array in given.items():
        if name in known and known[name].datatype != datatype_of(array):
            do = f"convert it: array.astype({numpy_name(known[name].datatype)!r})"
            return type(refused)(refused.what, where=refused.where, do=do, status=refused.status)
    return refused


def numpy_name(datatype: str) -> str:
    """What numpy calls the elements that the protocol calls so."""
    import numpy as np

    from tidegate.bundle.element_types import ELEMENT_TYPES

    if datatype in ("BYTES", "BF16"):
        return {"BYTES": "str", "BF16": "bfloat16"}[datatype]  # the latter is ml_dtypes'
    return np.dtype(ELEMENT_TYPES[datatype].numpy).name


def model_to_ask(target: str | None, state: Path | None, version: str, *, local: bool) -> ModelAddress:
    """Where the model is: at a URL, or behind the local run that serves it."""
    from dataclasses import replace

    from tidegate.client import model_address
    from tidegate.client.connection import has_credentials

    if target and "://" in target:
        if local or state:
            raise UsageError("an address is no run on this machine", do="leave --local and --state away")
        if has_credentials(target):
            raise UsageError("an address holds no credentials", do="send them with --header 'authorization: ...'")
        found = model_address(target)
    elif target and "/" in target:
        raise UsageError("neither a name nor an address", where=target, do="write http://HOST:PORT/v2/models/NAME")
    else:
        found = model_address(url_of_run(target, state))
    return replace(found, version=version) if version else found


def url_of_run(name: str | None, state: Path | None) -> str:
    from tidegate.local.commands import NotRunning, one_target

    found = one_target(state, name)
    url = found.memory().status.url
    if not url or not found.running:
        raise NotRunning("nothing serves it now", where=str(found), do="see `tidegate status`")
    return url


def header(text: str) -> tuple[str, str]:
    """Name and value; raises UsageError, which shows no value: it may be a secret."""
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not colon:
        raise UsageError("a header is NAME:VALUE", where="--header")
    if not HEADER_NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be the name of a header", where="--header", do="write NAME:VALUE")
    if name.lower() in OF_THE_BODY:
        raise UsageError(f"{name} is written by the client itself", where="--header", do="leave it away")
    if not HEADER_VALUE.fullmatch(value):
        raise UsageError(f"the value of {name} is not one line of Latin-1 text", where="--header")
    return name, value


def save(answer: Prediction, path: Path) -> None:
    """The outputs as arrays by name; texts as numpy's own texts, which need no pickle.

    Not by np.savez: an output may be called `file` or `allow_pickle`, which are its arguments.
    """
    import numpy as np

    with zipfile.ZipFile(path, "w") as archive:
        for name, array in answer.items():
            plain = array.astype(str) if array.dtype == object else array
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, plain, allow_pickle=False)


def document(answer: Prediction) -> dict[str, Any]:
    from tidegate.client.tensors import to_values

    return {
        "model": answer.model,
        "version": answer.version,
        "revision": answer.revision,
        "outputs": {
            name: {"datatype": answer.datatypes[name], "shape": list(array.shape), "data": to_values(array)}
            for name, array in answer.items()
        },
    }


def print_answer(answer: Prediction) -> None:
    rows = [[name, answer.datatypes[name], list(array.shape), shown(array)] for name, array in answer.items()]
    print_table(["output", "type", "shape", "values"], rows)
    by = f"version {answer.version}" if answer.version else "a version without a name"
    click.echo(f"{answer.model}: {by}" + (f" (revision {answer.revision})" if answer.revision else ""))


def shown(array: Array) -> str:
    return " ".join(map(str, array.ravel()[:MOST_SHOWN])) + (" …" if array.size > MOST_SHOWN else "")


def deployment_name(_context: click.Context, _option: click.Parameter, name: str | None) -> str | None:
    """A name that a deployment may have, or none."""
    from pydantic import ValidationError

    from tidegate.api.load import sentence
    from tidegate.api.spec import Metadata

    try:
        return name if name is None else Metadata(name=name).name
    except ValidationError as error:
        raise UsageError(f"{name!r} is not a deployment's", where="--name", do=sentence(error.errors()[0])) from None


def server_address(_context: click.Context, _option: click.Parameter, text: str) -> str:
    """An address that a document of OpenAPI may name."""
    if not SERVER.fullmatch(text):  # which is not shown: it may hold a password
        do = "write http://HOST:PORT, https://HOST or /PATH"
        raise UsageError("not the address of a server", where="--server", do=do)
    return text


@click.command(context_settings=HELP)
@click.argument("ref")
@click.option("--name", callback=deployment_name, help="The deployment's name, where it is another than the bundle's.")
@click.option(
    "--server", default="http://localhost:8080", show_default=True, callback=server_address, help="Where it is asked."
)
@click.option(
    "-o", "--output", type=click.Choice(["json", "yaml"]), default="json", show_default=True, help="The form."
)
def openapi(ref: str, name: str | None, server: str, output: str) -> None:
    """Print an OpenAPI 3.1 description of what a bundle's model can be asked.

    Paths, tensors, types and shapes of the Open Inference Protocol, for generators of clients and for gateways.
    REF is a directory or any bundle address.

    \b
    Example: tidegate openapi bundle > fraud.openapi.json
    """
    from tidegate.author.openapi import openapi_document
    from tidegate.bundle.fetch import resolve
    from tidegate.bundle.source import Source
    from tidegate.cli.bundles import PERSONAL

    manifest = resolve(Source(ref, access=PERSONAL)).manifest
    described = openapi_document(manifest, name=name or manifest.name, server=server)
    if output == "yaml":
        import yaml

        click.echo(yaml.safe_dump(described, sort_keys=False, allow_unicode=True), nl=False)
        return
    click.echo(json.dumps(described, indent=2, ensure_ascii=False))
