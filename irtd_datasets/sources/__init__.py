"""Source datasets as they lie on disk: a table of what is known of each, and readers by annotation format."""

from irtd_datasets.sources.finding import FoundSource, find_sources
from irtd_datasets.sources.problems import CODES, Problems, SourceProblem
from irtd_datasets.sources.readers import READERS
from irtd_datasets.sources.source import Source, SourceOptions, open_source
from irtd_datasets.sources.table import COLUMNS, TABLE, SourceRow, get, merge_tables, read_table

__all__ = [
    "CODES",
    "COLUMNS",
    "READERS",
    "TABLE",
    "FoundSource",
    "Problems",
    "Source",
    "SourceOptions",
    "SourceProblem",
    "SourceRow",
    "find_sources",
    "get",
    "merge_tables",
    "open_source",
    "read_table",
]
