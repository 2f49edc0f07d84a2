"""Where bytes come from: folders, archives, cut archives, and the names of what lies in them."""
