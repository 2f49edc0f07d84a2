"""Getting a release: from where it is handed out into a folder, verified, and compared with what is known of it."""
