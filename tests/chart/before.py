"""A version of the chart from before this one, made of it: what an upgrade comes from, and a way back leads to."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import yaml
from tests.chart.helm import CHART
from tests.control_plane.resources import Object

VERSION = "0.0.9"
NOT_THERE_YET = (("spec", "paused"), ("status", "history"), ("status", "commands"))  # of the CRD


def chart_of_before(folder: Path) -> Path:
    """Its CRD has fewer fields, and its values have no `operator.workers`."""
    chart = folder / "tidegate"
    shutil.copytree(CHART, chart)
    crd = yaml.safe_load((chart / "files/crd.yaml").read_text())
    for part, field in NOT_THERE_YET:
        del fields(crd, part)[field]
    (chart / "files/crd.yaml").write_text(yaml.safe_dump(crd))
    forget_a_value(chart)
    text = (chart / "Chart.yaml").read_text()
    (chart / "Chart.yaml").write_text(re.sub(r"(?m)^(version|appVersion): .*", rf"\1: {VERSION}", text))
    return chart


def forget_a_value(chart: Path) -> None:
    schema = json.loads((chart / "values.schema.json").read_text())
    operator = schema["properties"]["operator"]
    del operator["properties"]["workers"]
    operator["required"].remove("workers")
    (chart / "values.schema.json").write_text(json.dumps(schema))
    values = yaml.safe_load((chart / "values.yaml").read_text())
    del values["operator"]["workers"]
    (chart / "values.yaml").write_text(yaml.safe_dump(values))
    deployment = chart / "templates/deployment.yaml"
    deployment.write_text(re.sub(r"(?m)^ *- --workers=.*\n", "", deployment.read_text()))


def fields(crd: Object, part: str) -> Object:
    """What the CRD knows of `spec` or `status`."""
    [version] = crd["spec"]["versions"]
    found: Object = version["schema"]["openAPIV3Schema"]["properties"][part]["properties"]
    return found
