"""Source datasets as they lie on disk: a table of what is known of each, and readers by annotation format."""

from irtd_datasets.sources.checking import SourceCheck, check_source
from irtd_datasets.sources.finding import FoundSource, find_sources
from irtd_datasets.sources.opening import open_source
from irtd_datasets.sources.problems import CODES, Problems, SourceProblem
from irtd_datasets.sources.readers import READER_DOCS, READERS
from irtd_datasets.sources.source import Source, SourceOptions
from irtd_datasets.sources.table import COLUMNS, TABLE, SourceRow, alignment_of, get, merge_tables, read_table

__all__ = [
    "CODES",
    "COLUMNS",
    "READERS",
    "READER_DOCS",
    "TABLE",
    "FoundSource",
    "Problems",
    "Source",
    "SourceCheck",
    "SourceOptions",
    "SourceProblem",
    "SourceRow",
    "alignment_of",
    "check_source",
    "find_sources",
    "get",
    "merge_tables",
    "open_source",
    "read_table",
]
