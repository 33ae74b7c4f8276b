"""The report of a rehearsal as a file: Markdown for a merge request, HTML for a browser.

Imports terminal and errors, and the findings of a rehearsal for their types only.
"""

from .file import report_file as report_file
