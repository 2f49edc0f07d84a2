"""Dataset folders checked, compared, shown and published. What their files look like is the business of `folder`."""
