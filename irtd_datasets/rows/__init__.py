"""From a parsed record to a row of the schema: drafts, their completion once the image is known, order, batches."""
