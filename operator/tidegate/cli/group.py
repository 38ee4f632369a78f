"""All commands.  Each is imported when it is called, so `--help` and `--version` stay quick.

A new command is a module with a click command and one line in `COMMANDS`.
"""

from __future__ import annotations

import importlib
import sys

import click

from tidegate import __version__
from tidegate.cli.output import fail, wants_json
from tidegate.cli.target import called
from tidegate.errors import Failed, TidegateError, UsageError
from tidegate.interrupts import INTERRUPTED, ends_at_once

# name -> (module, attribute, the line shown by `tidegate --help`); in the order of that page.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "pack": ("tidegate.cli.authoring", "pack", "Turn a trained model into a bundle and prove it."),
    "optimize": ("tidegate.cli.optimize", "optimize", "Make a smaller or faster variant of a bundle."),
    "derive": ("tidegate.cli.derive", "derive", "Make a bundle of another: a part, new weights, a new head."),
    "explain": ("tidegate.cli.explain", "explain", "Show what in an input a model's answers come from."),
    "inspect": ("tidegate.cli.authoring", "inspect", "Show what a bundle is."),
    "diff": (
        "tidegate.cli.authoring",
        "diff",
        "Show what changes between two bundles, and whether a rollout would take it.",
    ),
    "verify": ("tidegate.cli.bundles", "verify", "Check every digest, the signature and the model without running it."),
    "check": ("tidegate.cli.authoring", "check", "Run the golden samples as a pod would."),
    "matrix": (
        "tidegate.cli.matrix",
        "matrix",
        "Run the golden samples under other ONNX Runtimes, providers, threads.",
    ),
    "push": ("tidegate.cli.bundles", "push", "Publish a bundle directory to a store."),
    "pull": ("tidegate.cli.bundles", "pull", "Fetch and verify a bundle from a store."),
    "catalog": ("tidegate.cli.catalog", "catalog", "Show what a store holds, and which bundle was made from which."),
    "gc": ("tidegate.cli.catalog", "gc", "Remove what broken-off pushes left in a repository."),
    "keygen": ("tidegate.cli.bundles", "keygen", "Make a key pair for signing bundles."),
    "sign": ("tidegate.cli.bundles", "sign", "Sign a bundle directory."),
    "encrypt": ("tidegate.cli.bundles", "encrypt", "Make an encrypted bundle of a bundle directory."),
    "export": ("tidegate.cli.export", "export", "Write a bundle's model for mobile and embedded machines."),
    "lint": ("tidegate.cli.manifests", "lint", "Check manifests against the schema and its rules, offline."),
    "run": ("tidegate.cli.local", "run", "Serve a manifest on this machine, rollouts included."),
    "status": ("tidegate.cli.status", "status", "Show the versions, weights and verdicts of a deployment."),
    "history": ("tidegate.cli.status", "history", "Show which versions were served, and how each ended."),
    "promote": ("tidegate.cli.acting", "promote", "Pass the current gate, or go to 100 % at once with --full."),
    "abort": ("tidegate.cli.acting", "abort", "Send all traffic back to the stable version."),
    "retry": ("tidegate.cli.acting", "retry", "Try a rejected version again."),
    "pause": ("tidegate.cli.acting", "pause", "Freeze a rollout where it is."),
    "resume": ("tidegate.cli.acting", "resume", "Let a paused rollout go on."),
    "rollback": ("tidegate.cli.acting", "rollback", "Return to an earlier version."),
    "restart": ("tidegate.cli.acting", "restart", "Roll out the same bundle once more, with fresh servers."),
    "wait": ("tidegate.cli.acting", "wait", "Wait until a deployment is promoted or ready."),
    "predict": ("tidegate.cli.asking", "predict", "Ask a model once."),
    "openapi": ("tidegate.cli.asking", "openapi", "Print what a bundle's model can be asked, as OpenAPI."),
    "bench": ("tidegate.cli.bench", "bench", "Find out how much load a model bears."),
    "dashboard": ("tidegate.cli.dashboard", "dashboard", "Show rollouts live in a browser."),
    "report": ("tidegate.cli.report", "report", "Write one rollout as a page with plots."),
    "crd": ("tidegate.cli.manifests", "crd", "Print the CustomResourceDefinition."),
    "operator": ("tidegate.cli.operator", "operator", "Reconcile the ModelDeployments of a cluster."),
}


class LazyGroup(click.Group):
    """Knows its commands by name and loads one only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        with ends_at_once():
            command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            if near := get_close_matches(args[0], COMMANDS, n=1):
                raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tidegate")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Prove, serve and roll out ONNX models.

    \b
    Example: tidegate run -f modeldeployment.yaml
    """
    ctx.obj = {"debug": debug}


def bug(error: Exception) -> TidegateError:
    """What we did not foresee, as a sentence; the traceback is one flag away."""
    first_line = str(error).partition("\n")[0]
    return TidegateError(
        f"a bug in tidegate: {type(error).__name__}: {first_line}",
        do="run it again with --debug before the command and report what it prints",
        reason="Bug",
    )


def refused_by_the_machine(error: OSError) -> TidegateError:
    """A file, folder or socket that cannot be used: nobody's bug."""
    where = str(error.filename) if error.filename is not None else ""
    what = error.strerror or str(error)
    return Failed(what, where=where, do="see to it, or name another place", reason="LocalError")


def wrong_usage(error: click.ClickException) -> int:
    """How the command is called rightly; in JSON where the answer was asked for in JSON."""
    if not wants_json():
        error.show()
        return UsageError.exit_code
    context = error.ctx if isinstance(error, click.UsageError) else None
    path = context.command_path if context else "tidegate"
    return fail(UsageError(error.format_message(), where=path, do=f"see {path} --help"))


def foreseen(error: Exception) -> TidegateError:
    """Every error as one that has a sentence."""
    if isinstance(error, TidegateError):
        return error
    return refused_by_the_machine(error) if isinstance(error, OSError) else bug(error)


def run() -> int:
    """Run the command line that was typed; the exit code."""
    try:
        code = cli.main(prog_name=called(), complete_var="_TIDEGATE_COMPLETE", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except click.ClickException as error:
        return wrong_usage(error)
    except BrokenPipeError:
        sys.stderr.close()  # the reader left (`| head`): nothing to say, and nobody to say it to
        return 1
    except Exception as error:  # the last line of defence: whoever is at the prompt gets a sentence
        if "--debug" in sys.argv:
            raise
        return fail(foreseen(error))
    return code if isinstance(code, int) else 0
