"""One page that shows what a deployment went through: weights, requests, errors, latency, verdicts and their reasons.

    write_report([source, …], Path("report.html"))     the page
    report_data([source, …])                           the same as plain data

A source is the folder of a deployment in the state of a local run, or what was read of one elsewhere (`Kept`).

The page needs no network: styles, plots and data are inside it, and it reads the same without scripts.
"""

from __future__ import annotations

from tidegate.report.course import Course, Kept, Source, read_course
from tidegate.report.document import report_data
from tidegate.report.page import write_report

__all__ = ["Course", "Kept", "Source", "read_course", "report_data", "write_report"]
