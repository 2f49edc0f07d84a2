"""Where each image lies inside plain Parquet: the walk through page headers, and the file that keeps its result."""

from irtd_datasets.folder.index.file import (
    FILTER_COLUMNS,
    ShardEntry,
    footer_digest,
    image_columns,
    index_table,
    leaf_columns,
    read_entries,
    read_footer_bytes,
    read_tables,
    renamed,
    write_folder_index,
    write_index,
    write_tables,
)
from irtd_datasets.folder.index.pages import ColumnChunk, PageError, chunk_of, locate_in_file, locate_values

__all__ = [
    "FILTER_COLUMNS",
    "ColumnChunk",
    "PageError",
    "ShardEntry",
    "chunk_of",
    "footer_digest",
    "image_columns",
    "index_table",
    "leaf_columns",
    "locate_in_file",
    "locate_values",
    "read_entries",
    "read_footer_bytes",
    "read_tables",
    "renamed",
    "write_folder_index",
    "write_index",
    "write_tables",
]
