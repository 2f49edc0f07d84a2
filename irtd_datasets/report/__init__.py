"""What the command line shows: tables and progress, a module for each group of commands."""
