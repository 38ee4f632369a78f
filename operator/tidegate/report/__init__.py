"""One page that shows what a deployment went through: weights, requests, errors, latency, verdicts and their reasons.

    write_report([folder of a deployment, …], Path("report.html"))     the page
    report_data([folder of a deployment, …])                           the same as plain data

The page needs no network: styles, plots and data are inside it, and it reads the same without scripts.
"""

from __future__ import annotations

from tidegate.report.course import Course, read_course
from tidegate.report.document import report_data
from tidegate.report.page import write_report

__all__ = ["Course", "read_course", "report_data", "write_report"]
