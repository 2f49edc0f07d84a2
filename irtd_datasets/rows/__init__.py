"""From a parsed record to rows of the schema: pending rows, their order, their completion, row groups."""
