"""From a parsed record to a row of the schema: drafts, their completion once the picture is known, order, batches."""
